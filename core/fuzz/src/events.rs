//! Sequences of events: whatever happens in whatever order, the agent comes to rest, wakes up later than now, and never has two steps under way with one instance.
//!
//! Each byte of the input picks what happens next; some take further bytes.

use std::collections::BTreeMap;

use lightship_core::id::{Digest, Name};
use lightship_core::plan::Presence;
use lightship_core::record::{Record, Saved};
use lightship_core::target::Kind;
use lightship_core::time::{Duration, Instant, UnixTime};
use lightship_core::wire::{self, KeyKind, Order};
use lightship_core::{Action, Agent, Event, Failure, MessageId, Step, StepId};

use super::fleet::{config, install};

/// Events of one input that are played.
const EVENTS: usize = 200;
/// Calls of `poll` after which an agent that does not wait never will.
const STEPS: usize = 2_000;

const FAILURES: [Failure; 9] = [
    Failure::Network,
    Failure::Unauthorized,
    Failure::RetryAfter(7),
    Failure::NoSpace,
    Failure::Corrupt,
    Failure::Unusable,
    Failure::Storage,
    Failure::TimedOut,
    Failure::Broken,
];

const PRESENCES: [Presence; 9] = [
    Presence::Missing,
    Presence::Fetched,
    Presence::Staged,
    Presence::RolledBack,
    Presence::Starting,
    Presence::Healthy,
    Presence::Unhealthy,
    Presence::Exited,
    Presence::Completed,
];

/// What the agent asked for and was not answered.
#[derive(Clone, Debug)]
enum Open {
    Store(Record),
    CreateKey(u8),
    Erase,
    Connect,
    Send(MessageId),
    Inventory,
    Step(StepId, Verb),
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Fetch,
    Stage,
    Start,
    Stop,
    Probe,
    Confirm,
    Remove,
}

struct Play<'a> {
    agent: Agent<2>,
    now: Instant,
    until: Option<Instant>,
    open: Vec<Open>,
    busy: BTreeMap<StepId, (Name, Digest)>,
    rest: &'a [u8],
}

/// Plays the input.
pub fn run(bytes: &[u8]) {
    let mut play = Play {
        agent: Agent::new(config(), Saved::default(), [1; 32], Instant::BOOT),
        now: Instant::BOOT,
        until: None,
        open: Vec::new(),
        busy: BTreeMap::new(),
        rest: bytes,
    };
    play.settle();
    for _ in 0..EVENTS {
        let Some(pick) = play.byte() else {
            return;
        };
        play.happen(pick);
        play.settle();
    }
}

impl Play<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn settle(&mut self) {
        for _ in 0..STEPS {
            match self.agent.poll() {
                Step::Wait { until, .. } => {
                    assert!(
                        until.is_none_or(|until| until > self.now),
                        "a wait for the past"
                    );
                    self.until = until;
                    return;
                }
                Step::Note(_) => {}
                Step::Act(action) => {
                    let (open, instance) = opened(&action);
                    self.open.extend(open.clone());
                    if let (Some(Open::Step(id, _)), Some(instance)) = (open, instance) {
                        let twice = self.busy.values().any(|busy| *busy == instance);
                        assert!(!twice, "two steps with one instance");
                        self.busy.insert(id, instance);
                    }
                }
            }
        }
        panic!("the agent does not come to rest");
    }

    fn tell(&mut self, event: Event<'_>) {
        self.agent.handle(self.now, event);
    }

    fn happen(&mut self, pick: u8) {
        match pick % 16 {
            // Most of what happens is an answer.
            0..=8 => self.answer(pick),
            9 => {
                self.now = self.until.unwrap_or(self.now).max(self.now);
                self.tell(Event::Woke);
            }
            10 => {
                let seconds = u64::from(self.byte().unwrap_or(1)) * 60;
                self.now = self.now + Duration::from_secs(seconds);
                self.tell(Event::Woke);
            }
            11 => self.message(),
            12 => {
                let failure = FAILURES[usize::from(pick >> 4) % FAILURES.len()];
                self.tell(Event::Disconnected(failure));
            }
            13 => self.lock(pick),
            14 => self.order(pick),
            _ => self.stray(pick),
        }
    }

    fn answer(&mut self, pick: u8) {
        if self.open.is_empty() {
            return self.tell(Event::Woke);
        }
        let open = self.open.remove(usize::from(pick >> 4) % self.open.len());
        let luck = self.byte().unwrap_or(0);
        let result = match luck {
            0..200 => Ok(()),
            _ => Err(FAILURES[usize::from(luck) % FAILURES.len()]),
        };
        let event = match open {
            Open::Store(record) => Event::RecordStored(record, result),
            Open::CreateKey(slot) => {
                let key = lightship_core::id::PublicKey([slot; 32]);
                Event::KeyCreated(slot, result.map(|()| key))
            }
            Open::Erase => Event::ProvisioningKeyErased(result),
            Open::Connect => match result {
                Ok(()) => Event::Connected,
                Err(failure) => Event::Disconnected(failure),
            },
            Open::Send(id) => Event::Sent(id, result),
            Open::Inventory => Event::InventoryTaken(result),
            Open::Step(id, verb) => {
                self.busy.remove(&id);
                match verb {
                    Verb::Fetch => Event::Fetched(id, result),
                    Verb::Stage => Event::Staged(id, result),
                    Verb::Start => Event::Started(id, result),
                    Verb::Stop => Event::Stopped(id, result),
                    Verb::Probe => {
                        Event::Probed(id, PRESENCES[usize::from(luck) % PRESENCES.len()])
                    }
                    Verb::Confirm => Event::Confirmed(id, result),
                    Verb::Remove => Event::Removed(id, result),
                }
            }
        };
        self.tell(event);
    }

    /// A message of the fleet: whatever the next bytes are, or an honest answer.
    fn message(&mut self) {
        let len = usize::from(self.byte().unwrap_or(0));
        if len == 0 {
            return self.honest();
        }
        let (message, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        if let Ok(down) = wire::decode_down(message) {
            self.tell(Event::Received(down));
        }
    }

    /// Registers the device, or assigns it a release.
    fn honest(&mut self) {
        let Some(uuid) = self.agent.uuid() else {
            return;
        };
        if !self.agent.is_registered() {
            let registered = wire::Registered { uuid, tunnel: None };
            return self.tell(Event::Received(wire::Down::Registered(registered)));
        }
        let version = self.byte().unwrap_or(1) % 4;
        let counter = self.agent.trust().counter + 1;
        let (assignment, release) = install(uuid, counter, version);
        self.tell(Event::Received(wire::Down::Target(wire::SignedTarget {
            assignment: wire::Blob::Raw(&assignment),
            release: wire::Blob::Raw(&release),
        })));
    }

    fn lock(&mut self, pick: u8) {
        let owner = name(["a", "b", "c"][usize::from(pick >> 6) % 3]);
        let event = match (pick >> 4) % 4 {
            0 => Event::Unlocked(owner),
            1 => Event::Locked {
                owner,
                covers: None,
                expires_in: None,
            },
            2 => Event::Locked {
                owner,
                covers: Some(name("web")),
                expires_in: Some(Duration::from_secs(100)),
            },
            _ => Event::Changed(name("web")),
        };
        self.tell(event);
    }

    fn order(&mut self, pick: u8) {
        let order = match (pick >> 4) % 5 {
            0 => Order::Restart(name("web")),
            1 => Order::Identify,
            2 => Order::Rotate(KeyKind::Api),
            3 => Order::Rotate(KeyKind::WireGuard),
            _ => Order::Report,
        };
        self.tell(Event::Asked(order));
    }

    /// What nobody asked for.
    fn stray(&mut self, pick: u8) {
        let id = StepId(u32::from(pick));
        let event = match (pick >> 4) % 8 {
            0 => Event::Connected,
            1 => Event::InventoryTaken(Ok(())),
            2 => Event::Found {
                name: name("web"),
                instance: Digest([pick; 32]),
                kind: Kind::Container,
                presence: PRESENCES[usize::from(pick) % PRESENCES.len()],
            },
            3 => Event::ClockSet(UnixTime(u64::MAX)),
            4 => Event::Fetched(StepId(u32::MAX), Ok(())),
            5 => Event::Sent(MessageId(u32::MAX), Ok(())),
            6 => Event::Progressed(id, u64::MAX),
            _ => Event::RecordStored(Record::State, Err(Failure::Storage)),
        };
        self.tell(event);
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn opened(action: &Action<'_>) -> (Option<Open>, Option<(Name, Digest)>) {
    let (id, verb, instance) = match action {
        Action::StoreRecord(record) => return (Some(Open::Store(record.kind())), None),
        Action::CreateKey(slot) => return (Some(Open::CreateKey(*slot)), None),
        Action::EraseProvisioningKey => return (Some(Open::Erase), None),
        Action::Connect(_) => return (Some(Open::Connect), None),
        Action::Send(id, _) => return (Some(Open::Send(*id)), None),
        Action::TakeInventory => return (Some(Open::Inventory), None),
        Action::Disconnect | Action::RaiseFloor(_) | Action::Identify | Action::Reboot => {
            return (None, None);
        }
        Action::Fetch(id, c) => (id, Verb::Fetch, (c.name.clone(), c.instance())),
        Action::Stage(id, c) => (id, Verb::Stage, (c.name.clone(), c.instance())),
        Action::Start(id, c) => (id, Verb::Start, (c.name.clone(), c.instance())),
        Action::Confirm(id, c) => (id, Verb::Confirm, (c.name.clone(), c.instance())),
        Action::Stop(id, i) => (id, Verb::Stop, (i.name.clone(), i.instance)),
        Action::Probe(id, i) => (id, Verb::Probe, (i.name.clone(), i.instance)),
        Action::Remove(id, i) => (id, Verb::Remove, (i.name.clone(), i.instance)),
    };
    (Some(Open::Step(*id, verb)), Some(instance))
}
