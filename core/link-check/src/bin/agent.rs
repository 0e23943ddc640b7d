//! A device's whole life in small: it registers, verifies and installs a release of four components, and rotates a key.
//!
//! It drives the agent as a platform does, so that everything a device needs of the core is linked, and no more.
//! The agent is a static, so its size is part of the weighed RAM; the buffer for records and messages is the platform's and lives on the stack.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::mem::MaybeUninit;

use lightship_core::plan::Presence;
use lightship_core::record::Saved;
use lightship_core::time::Instant;
use lightship_core::trust::{Compact, TrustState};
use lightship_core::wire::{self, Down, KeyAccepted, Rejection, Up};
use lightship_core::{Action, Agent, Event, Failure, Note, Step};
use lightship_link_check::device::{COMPONENTS, SEED, config};
use lightship_link_check::received::{REGISTERED, ROOT, ROTATE, TARGET};

/// Largest record or message of this device, in bytes.
const BUFFER_BYTES: usize = 2560;
/// Steps after which a life that has not come to its end never will.
const STEPS: usize = 10_000;

#[cortex_m_rt::entry]
fn main() -> ! {
    // cortex-m-rt makes this static ours alone.
    static mut AGENT: MaybeUninit<Agent<COMPONENTS>> = MaybeUninit::uninit();
    lightship_link_check::run(|| live(AGENT))
}

/// Makes the agent where it stays.
///
/// This, reading the configuration and the platform's answers are not inlined, so that their stack is given back before the agent decides.
#[inline(never)]
fn start(place: &mut MaybeUninit<Agent<COMPONENTS>>) -> Option<&mut Agent<COMPONENTS>> {
    let root = TrustState::first_root(&Compact, black_box(ROOT)).ok()?;
    Some(Agent::new_in(
        place,
        config(root)?,
        // Not known to the compiler, which would leave out what reads records.
        black_box(Saved::default()),
        black_box(SEED),
        Instant::BOOT,
    ))
}

/// Whether the device came to run its release and to use a new key.
#[inline(never)]
fn live(place: &mut MaybeUninit<Agent<COMPONENTS>>) -> bool {
    let Some(agent) = start(place) else {
        return false;
    };
    let mut fleet = Fleet::default();
    let mut now = Instant::BOOT;
    for _ in 0..STEPS {
        match agent.poll() {
            Step::Note(Note::KeyRotated(_)) => return agent.state().committed.is_some(),
            Step::Note(note) => drop(black_box(note)),
            Step::Act(action) => {
                if let Some(event) = fleet.answer(action) {
                    agent.handle(now, event);
                }
            }
            Step::Wait { until, .. } => {
                let Ok(event) = fleet.next_event() else {
                    return false;
                };
                if let (Event::Woke, Some(until)) = (&event, until) {
                    now = now.max(until);
                }
                agent.handle(now, event);
            }
        }
    }
    false
}

/// The other end, and the platform, where everything goes well.
#[derive(Default)]
struct Fleet {
    /// A message on its way to the device.
    inbox: Option<&'static [u8]>,
    /// A key that the fleet accepts.
    accepted: Option<KeyAccepted>,
}

impl Fleet {
    /// What the device hears next, when it has nothing to do.
    fn next_event(&mut self) -> Result<Event<'static>, Rejection> {
        if let Some(accepted) = self.accepted.take() {
            return Ok(Event::Received(Down::KeyAccepted(accepted)));
        }
        match self.inbox.take() {
            Some(message) => wire::decode_down(black_box(message)).map(Event::Received),
            None => Ok(Event::Woke),
        }
    }

    #[inline(never)]
    fn answer(&mut self, action: Action<'_>) -> Option<Event<'static>> {
        let mut buffer = [0; BUFFER_BYTES];
        Some(match action {
            Action::StoreRecord(record) => {
                let length = record.encode(&mut buffer);
                black_box(&buffer);
                let result = length.map(|_| ()).map_err(|_| Failure::Storage);
                Event::RecordStored(record.kind(), result)
            }
            Action::CreateKey(slot) => Event::KeyCreated(slot, Err(Failure::Broken)),
            Action::EraseProvisioningKey => Event::ProvisioningKeyErased(Ok(())),
            Action::Connect(credentials) => {
                black_box(credentials);
                Event::Connected
            }
            Action::Send(id, message) => {
                let sent = wire::encode(&message, &mut buffer).map(|bytes| {
                    black_box(bytes);
                });
                self.receive(&message);
                Event::Sent(id, sent.map_err(|_| Failure::NoSpace))
            }
            Action::TakeInventory => Event::InventoryTaken(Ok(())),
            Action::Fetch(id, _) => Event::Fetched(id, Ok(())),
            Action::Stage(id, _) => Event::Staged(id, Ok(())),
            Action::Start(id, _) => Event::Started(id, Ok(())),
            Action::Stop(id, _) => Event::Stopped(id, Ok(())),
            Action::Probe(id, _) => Event::Probed(id, Presence::Healthy),
            Action::Confirm(id, _) => Event::Confirmed(id, Ok(())),
            Action::Remove(id, _) => Event::Removed(id, Ok(())),
            Action::Disconnect | Action::RaiseFloor(_) | Action::Identify | Action::Reboot => {
                return None;
            }
        })
    }

    fn receive(&mut self, message: &Up) {
        self.inbox = match message {
            Up::Register(_) => Some(REGISTERED),
            Up::Report(report) if report.counter == 0 => Some(TARGET),
            Up::Report(report) if report.committed.is_some() => Some(ROTATE),
            Up::Report(_) => None,
            Up::ProposeKey(key) => {
                self.accepted = Some(KeyAccepted {
                    kind: key.kind(),
                    id: key.id(),
                });
                None
            }
        };
    }
}
