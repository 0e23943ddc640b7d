//! What a platform provides.

use lightship_core::id::{Digest, Name, PublicKey};
use lightship_core::plan::Presence;
use lightship_core::record::Record;
use lightship_core::target::{Component, Kind};
use lightship_core::time::{Duration, Instant, UnixTime};
use lightship_core::wire::Order;
use lightship_core::{Credentials, Failure, InstanceRef, Note, StepId};

/// Monotonic time, and a way to wait for it.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, and so neither is Send"
)]
pub trait Clock {
    /// Time since boot, or since any other moment that is earlier than all that this agent ever saw in this life.
    fn now(&self) -> Instant;

    /// Returns at `moment` or a little later; at once when it is past. May be dropped at any time.
    async fn sleep_until(&self, moment: Instant);
}

/// One step on a component. The borrow ends when [`Platform::begin`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Fetch and verify the artifact, and the spec and settings that belong to it.
    Fetch(&'a Component),
    /// Make ready to start.
    Stage(&'a Component),
    /// Start.
    Start(&'a Component),
    /// Have the boot loader keep the image.
    Confirm(&'a Component),
    /// Stop and release what it held.
    Stop(InstanceRef<'a>),
    /// Tell what is known of it.
    Probe(InstanceRef<'a>),
    /// Remove, with what only it uses.
    Remove(InstanceRef<'a>),
    /// Tell of every instance on the device: [`Happening::Found`] for each, then [`Happening::Done`].
    ///
    /// When that fails, it is asked for again, and nothing is started or removed before.
    TakeInventory,
}

/// What happens on a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A step has come to its end.
    Done(StepId, Result<(), Failure>),
    /// A probe has: what is known now.
    Probed(StepId, Presence),
    /// A fetch has brought so many bytes.
    Progressed(StepId, u64),
    /// An instance on the device, in answer to [`Task::TakeInventory`].
    Found {
        /// The component's name.
        name: Name,
        /// Which version, as it was staged.
        instance: Digest,
        /// What it is made of.
        kind: Kind,
        /// What is known of it.
        presence: Presence,
    },
    /// Something about a component changed by itself.
    Changed(Name),
    /// An application takes or renews an update lock.
    Locked {
        /// Who.
        owner: Name,
        /// The component that is covered; without it, all.
        covers: Option<Name>,
        /// How long it holds at most.
        expires_in: Option<Duration>,
    },
    /// An application lets its lock go.
    Unlocked(Name),
    /// An authentic clock says what time it is.
    ClockSet(UnixTime),
    /// A person or an application at the device asks for something.
    Asked(Order),
    /// The driver is to come to its end: the daemon stops, the components run on.
    Ended,
}

/// Stores, fetches, starts, stops. Does single steps and decides nothing.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, and so neither is Send"
)]
pub trait Platform {
    /// Takes note of what happened: writes a log line, keeps it for the fleet.
    fn note(&mut self, now: Instant, note: &Note);

    /// Saves a record so that a power cut at any moment leaves it as it was or as it is to be.
    ///
    /// # Errors
    ///
    /// Why it is not certain that it is saved.
    async fn store(&mut self, record: Record, bytes: &[u8]) -> Result<(), Failure>;

    /// Erases the provisioning key from configuration or firmware; a success if it is not there.
    ///
    /// # Errors
    ///
    /// Why it may still be there.
    async fn erase_provisioning_key(&mut self) -> Result<(), Failure>;

    /// Makes a tunnel key in a slot of the secure element.
    ///
    /// # Errors
    ///
    /// Why there is none; a platform without a secure element says [`Failure::Unusable`].
    async fn create_key(&mut self, slot: u8) -> Result<PublicKey, Failure>;

    /// Opens the way that the link takes: the tunnel with these keys, or nothing where there is none.
    ///
    /// # Errors
    ///
    /// Why there is no way.
    async fn prepare(&mut self, credentials: &Credentials<'_>) -> Result<(), Failure>;

    /// Begins a step and returns at once; [`Happening::Done`] or, for a probe, [`Happening::Probed`] follows.
    ///
    /// Steps on different instances may be under way at once; a platform may carry them out one after the other.
    fn begin(&mut self, id: StepId, task: Task<'_>);

    /// Gives a step up: it has no answer any more. What it was doing ends or is of no consequence.
    fn cancel(&mut self, id: StepId);

    /// The fleet, or somebody at the device, asks how it does: a platform that measures says it now.
    fn asked(&mut self) {}

    /// Waits for what happens next. May be dropped at any time; nothing is lost.
    async fn next(&mut self) -> Happening;

    /// Has the boot loader refuse images of a lower security version from now on.
    fn raise_floor(&mut self, floor: u32);

    /// Makes the device visible to someone who stands before it.
    fn identify(&mut self);

    /// Restarts the device. Where it returns, the driver comes to its end.
    async fn reboot(&mut self);
}
