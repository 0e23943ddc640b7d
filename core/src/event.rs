//! What happened outside: the answers to actions, messages, and what applications and people ask.

use crate::id::{Digest, Name, PublicKey};
use crate::plan::Presence;
use crate::record::Record;
use crate::target::Kind;
use crate::time::{Duration, UnixTime};
use crate::wire::{Down, Order, Rejection};

/// Names one action on a component, so that a late answer is not taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StepId(pub u32);

/// Names one message that was given out to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MessageId(pub u32);

/// Why a platform or a transport could not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Failure {
    /// The other end cannot be reached, or broke off.
    Network,
    /// The other end does not accept the credentials.
    Unauthorized,
    /// The other end asks to be left alone for so many seconds.
    RetryAfter(u32),
    /// There is no room.
    NoSpace,
    /// What was fetched is not what was promised: wrong digest, wrong size.
    Corrupt,
    /// It cannot run here, and trying again will not help.
    Unusable,
    /// Storage failed to read or write.
    Storage,
    /// It took too long.
    TimedOut,
    /// It does not start, stop or exist as it should.
    Broken,
}

/// What happened. See [`Action`](crate::Action) for which action each answers.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event<'a> {
    /// Answers `StoreRecord`. `Ok` means: it is there after a power cut at any later time.
    RecordStored(Record, Result<(), Failure>),
    /// Answers `CreateKey`: the public half of the tunnel key in that slot of the secure element.
    KeyCreated(u8, Result<PublicKey, Failure>),
    /// Answers `EraseProvisioningKey`.
    ProvisioningKeyErased(Result<(), Failure>),
    /// Answers `Connect`: the other end has accepted the credentials.
    Connected,
    /// Answers `Connect`, or tells that a connection ended.
    Disconnected(Failure),
    /// Answers `Send`: the other end has the message, or will never get it.
    Sent(MessageId, Result<(), Failure>),
    /// A message from the fleet, over the connection made with the last `Connect`.
    Received(Down<'a>),
    /// Bytes came over the connection that are not a message.
    Unreadable(Rejection),
    /// The connection goes another way from now on, in order of preference from 0; `why` the way before was left, if not because a better one came back.
    Switched {
        /// Position of the new way in the order of preference.
        to: u8,
        /// What the old way failed with.
        why: Option<Failure>,
    },
    /// Answers `TakeInventory`, once for each instance on the device.
    Found {
        /// The component's name.
        name: Name,
        /// [`Component::instance`](crate::target::Component::instance), as it was staged.
        instance: Digest,
        /// What it is made of.
        kind: Kind,
        /// What is known of it. Never `Missing`.
        presence: Presence,
    },
    /// Ends the answer to `TakeInventory`. `Ok` means: whatever was not found is not there.
    InventoryTaken(Result<(), Failure>),
    /// Answers `Fetch`: the artifact is there, whole and verified.
    Fetched(StepId, Result<(), Failure>),
    /// Tells how far a `Fetch` is, in bytes.
    Progressed(StepId, u64),
    /// Answers `Stage`.
    Staged(StepId, Result<(), Failure>),
    /// Answers `Start`. A component that restarts the device answers only when it could not.
    Started(StepId, Result<(), Failure>),
    /// Answers `Stop`.
    Stopped(StepId, Result<(), Failure>),
    /// Answers `Probe`.
    Probed(StepId, Presence),
    /// Answers `Confirm`: the boot loader keeps the image.
    Confirmed(StepId, Result<(), Failure>),
    /// Answers `Remove`.
    Removed(StepId, Result<(), Failure>),
    /// Something about a component changed by itself: it exited, became healthy, was killed. It is probed at once.
    Changed(Name),
    /// An application takes or renews an update lock.
    Locked {
        /// Who; one lock for each owner.
        owner: Name,
        /// The component that is covered; without it, all and the device.
        covers: Option<Name>,
        /// How long it holds at most.
        expires_in: Option<Duration>,
    },
    /// An application lets its update lock go.
    Unlocked(Name),
    /// An authentic clock says what time it is.
    ClockSet(UnixTime),
    /// Time has passed: the moment that `Wait` named has come.
    Woke,
    /// A person or an application at the device asks for something.
    Asked(Order),
}
