//! Routes events to the parts that decide, and their decisions to the platform. Decides nothing itself.

mod choose;
mod hear;

use core::mem::MaybeUninit;
use heapless::Deque;

use crate::action::Action;
use crate::context::{Backoff, Context};
use crate::event::Event;
use crate::id::{Name, ProvisioningKey, PublicKey, Uuid};
use crate::limits::{CLOCK_BOOT_STEP_S, CLOCK_FIRST_S, ORDERS};
use crate::link::Link;
use crate::note::Note;
use crate::plan::{Instance, Lock};
use crate::provision::Erasure;
use crate::reconcile::Reconcile;
use crate::record::{Clock, Identity, Record, Saveable, Saved, State, Unreadable, decode_to};
use crate::report::Reporter;
use crate::table::Verb;
use crate::time::{Instant, UnixTime};
use crate::trust::{Root, TrustState};
use crate::wire::Order;

/// What a device is told about itself before it ever ran.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it is; releases for anything else are refused.
    pub device_type: Name,
    /// What it is meant to run; releases of anything else are refused.
    pub product: Name,
    /// What it would like to be called.
    pub name: Option<Name>,
    /// The first root that it trusts, from [`TrustState::first_root`].
    pub root: Root,
    /// What lets it in; `None` once it was erased.
    pub provisioning_key: Option<ProvisioningKey>,
    /// Seconds between rotations of each key; `None` to rotate on command alone.
    pub rotation_period_s: Option<u32>,
    /// Whether tunnel keys are made and kept by a secure element.
    pub keys_outside: bool,
}

/// What is kept of a [`Config`]: all but the root, which is in the trust.
#[derive(Debug)]
struct Kept {
    device_type: Name,
    product: Name,
    name: Option<Name>,
    provisioning_key: Option<ProvisioningKey>,
    rotation_period_s: Option<u32>,
    keys_outside: bool,
}

/// What [`Agent::poll`] has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Step<'a> {
    /// Do this, and tell how it went.
    Act(Action<'a>),
    /// This happened.
    Note(Note),
    /// Nothing to do until an event comes, or until this moment: then handle [`Event::Woke`].
    Wait {
        /// The moment; `None` when only an event can change anything.
        until: Option<Instant>,
        /// What the moment is for.
        why: Wake,
    },
}

/// What the agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Wake {
    /// Only an event changes anything.
    Event,
    /// A record that could not be saved is tried again.
    Record,
    /// A component is probed, a trial judged, a failed step tried again, a lock ends.
    Components,
    /// The connection is tried again, or is given up.
    Link,
    /// A report may be sent.
    Report,
    /// The time is saved, a key rotated.
    Upkeep,
}

/// The agent of one device with releases of at most `COMPONENTS` components.
///
/// After each [`handle`](Self::handle), call [`poll`](Self::poll) until it says [`Step::Wait`].
#[derive(Debug)]
// What is small comes first, so that what is used often is reached with short instructions.
#[repr(C)]
pub struct Agent<const COMPONENTS: usize> {
    cx: Context,
    clock: Clock,
    /// It was `wall` at `wall_at`, or later.
    wall: UnixTime,
    wall_at: Instant,
    clock_saved_at: Instant,
    erasure_backoff: Backoff,
    floor_told: u32,
    erasure: Erasure,
    creating_key: bool,
    rebooting: bool,
    link: Link,
    reporter: Reporter,
    reconcile: Reconcile<COMPONENTS>,
    trust: TrustState,
    identity: Option<Identity>,
    config: Kept,
    public_key: Option<PublicKey>,
    orders: Deque<Order, ORDERS>,
}

impl<const COMPONENTS: usize> Agent<COMPONENTS> {
    /// An agent with what it saved in earlier lives.
    ///
    /// `seed` must be 32 bytes that nobody can guess and that were never used before: keys are made from it.
    /// `now` is the present monotonic time.
    ///
    /// A record that cannot be read is told in a [`Note`]. A torn identity counts as none, a torn trust as the first root, a torn state leaves everything on the device as it is until a target is assigned, and what a newer agent wrote is never overwritten.
    pub fn new(config: Config, saved: Saved<'_>, seed: [u8; 32], now: Instant) -> Self {
        let mut agent = Self::asleep(config, seed, now);
        agent.wake(saved);
        agent
    }

    /// As [`new`](Self::new), made in the memory given, a static as a rule: where an agent is moved from the stack to where it stays, the stack has to have room for it twice.
    pub fn new_in<'p>(
        place: &'p mut MaybeUninit<Self>,
        config: Config,
        saved: Saved<'_>,
        seed: [u8; 32],
        now: Instant,
    ) -> &'p mut Self {
        let agent = place.write(Self::asleep(config, seed, now));
        agent.wake(saved);
        agent
    }

    /// An agent that knows of nothing saved. Not inlined, so that it is written straight to where its caller wants it.
    #[inline(never)]
    fn asleep(config: Config, seed: [u8; 32], now: Instant) -> Self {
        Self {
            wall: UnixTime(0),
            wall_at: now,
            clock_saved_at: now,
            trust: TrustState::new(config.root),
            config: Kept {
                device_type: config.device_type,
                product: config.product,
                name: config.name,
                provisioning_key: config.provisioning_key,
                rotation_period_s: config.rotation_period_s,
                keys_outside: config.keys_outside,
            },
            cx: Context::new(seed, now),
            identity: None,
            clock: Clock::default(),
            reconcile: Reconcile::new(),
            link: Link::new(now),
            reporter: Reporter::new(),
            erasure: Erasure::Wanted,
            erasure_backoff: Backoff::default(),
            floor_told: 0,
            creating_key: false,
            public_key: None,
            orders: Deque::new(),
            rebooting: false,
        }
    }

    /// Goes on from what was saved. Not inlined, so that an agent is made where it stays and not copied there.
    #[inline(never)]
    fn wake(&mut self, saved: Saved<'_>) {
        let (cx, first_issued) = (&mut self.cx, self.trust.root.issued);
        // Without an identity that can be read, one is made if there is something to register with.
        load(cx, saved.identity, |identity| {
            self.identity = Some(identity);
        });
        let is_known = load(cx, saved.state, |state| self.reconcile.state = state);
        // Neither a trust nor a clock that cannot be read keeps the device from what it can do without.
        load(cx, saved.trust, |trust| self.trust = trust);
        load(cx, saved.clock, |clock| self.clock = clock);
        // A cut between the commit and the record of its floor leaves the floor to be raised now.
        let committed = self.reconcile.state.committed.as_ref();
        let floor = committed.map_or(0, |target| target.floor);
        self.trust.floor = self.trust.floor.max(floor);
        let clock = &mut self.clock;
        clock.boots = clock.boots.saturating_add(1);
        clock.floor = clock.floor.max(self.trust.time_floor);
        let handshake = clock.handshake.0.max(first_issued.0.min(CLOCK_FIRST_S));
        clock.handshake = UnixTime(handshake).later(CLOCK_BOOT_STEP_S);
        self.wall = clock.floor;
        cx.changed(Record::Clock);
        if !is_known {
            self.reconcile.pause();
        }
        self.reconcile.boot(cx);
        self.make_identity();
    }

    /// Takes what happened. `now` is the present monotonic time.
    pub fn handle(&mut self, now: Instant, event: Event<'_>) {
        self.cx.now = self.cx.now.max(now);
        self.reconcile.wake(self.cx.now);
        let cx = &mut self.cx;
        match event {
            Event::RecordStored(record, result) => self.record_stored(record, result),
            Event::KeyCreated(slot, result) => self.key_created(slot, result),
            Event::ProvisioningKeyErased(result) => self.provisioning_key_erased(result),
            Event::Connected => self.connected(),
            Event::Disconnected(failure) => self.disconnected(failure),
            Event::Sent(id, result) => self.sent(id, result),
            Event::Received(down) => self.received(down),
            Event::Unreadable(rejection) => self.unreadable(rejection),
            Event::Switched { to, why } => cx.note(Note::Switched { to, why }),
            Event::Found {
                name,
                instance,
                kind,
                presence,
            } => {
                let instance = Instance {
                    name,
                    digest: instance,
                    kind,
                    presence,
                    no_space: false,
                    restart: false,
                };
                self.reconcile.found(cx, instance);
            }
            Event::InventoryTaken(result) => self.inventory_taken(result),
            Event::Fetched(id, result) => {
                self.reconcile.answered(cx, Verb::Fetch, id, result);
            }
            Event::Progressed(id, bytes) => self.reconcile.progressed(id, bytes),
            Event::Staged(id, result) => {
                self.reconcile.answered(cx, Verb::Stage, id, result);
            }
            Event::Started(id, result) => {
                self.reconcile.answered(cx, Verb::Start, id, result);
            }
            Event::Stopped(id, result) => {
                self.reconcile.answered(cx, Verb::Stop, id, result);
            }
            Event::Probed(id, presence) => self.reconcile.probed(cx, id, presence),
            Event::Confirmed(id, result) => {
                self.reconcile.answered(cx, Verb::Confirm, id, result);
            }
            Event::Removed(id, result) => {
                self.reconcile.answered(cx, Verb::Remove, id, result);
            }
            Event::Changed(name) => self.reconcile.changed(cx, &name),
            Event::Locked {
                owner,
                covers,
                expires_in,
            } => self.locked(Lock {
                owner,
                covers,
                expires: expires_in.map(|span| now + span),
            }),
            Event::Unlocked(owner) => {
                self.reconcile.locks.release(&owner);
            }
            Event::ClockSet(time) => self.clock_set(time),
            Event::Woke => (),
            Event::Asked(order) => self.order(order),
        }
    }

    /// What is to be done now. Call it until it says [`Step::Wait`]; it does so after a bounded number of calls.
    pub fn poll(&mut self) -> Step<'_> {
        if let Some(note) = self.cx.next_note() {
            return Step::Note(note);
        }
        if let Some(choice) = self.choose() {
            return Step::Act(self.act(choice));
        }
        // Looking for something to do may have been worth a note.
        match self.cx.next_note() {
            Some(note) => Step::Note(note),
            None => self.wait(),
        }
    }

    /// Who the device is, once it has an identity.
    pub fn uuid(&self) -> Option<Uuid> {
        self.identity.as_ref().map(|identity| identity.uuid)
    }

    /// Whether the fleet has confirmed the registration.
    pub fn is_registered(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| identity.registered)
    }

    /// What the device runs, tries and has given up.
    pub const fn state(&self) -> &State<COMPONENTS> {
        &self.reconcile.state
    }

    /// The trusted root, counters and floors.
    pub const fn trust(&self) -> &TrustState {
        &self.trust
    }
}

/// Reads a saved record and hands it over; whether what was saved is known, were it nothing.
fn load<T: Saveable>(cx: &mut Context, bytes: Option<&[u8]>, keep: impl FnOnce(T)) -> bool {
    let Some(bytes) = bytes else {
        return true;
    };
    match decode_to(bytes, keep) {
        Ok(()) => true,
        Err(unreadable) => {
            tell_unreadable(cx, T::RECORD, unreadable);
            false
        }
    }
}

/// What a newer agent wrote will not be overwritten.
#[inline(never)]
fn tell_unreadable(cx: &mut Context, record: Record, unreadable: Unreadable) {
    cx.note(Note::RecordUnreadable(record, unreadable));
    match unreadable {
        Unreadable::Torn => (),
        Unreadable::Newer | Unreadable::TooManyComponents => cx.ledger.halt(record),
    }
}
