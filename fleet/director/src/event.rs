//! What the director is told, and what it says.

use lightship_core::id::Uuid;
use lightship_core::time::UnixTime;

use crate::choose::Withheld;
use crate::facts::{Device, Fleet, Release, Report};
use crate::record::Record;
use crate::rollout::{BadPlan, Progress};
use crate::variables::Filled;

/// Something that became true.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed: the wait that [`Step::Wait`] asked for is over.
    Tick,
    /// What holds for the whole fleet.
    Fleet(Box<Fleet>),
    /// A release came, or its state changed.
    Release(u64, Release),
    /// A device registered, or what is known of it changed.
    Device(Uuid, Box<Device>),
    /// A device is not one of the fleet any more.
    Removed(Uuid),
    /// A device reported.
    Reported(Uuid, Report),
    /// The trust root names other release keys: floors start again from the one it sets.
    ReleaseKeysChanged {
        /// The root's floor.
        floor: u32,
    },
    /// A person decides on a roll-out.
    Ordered(u64, Order),
}

/// What a person can decide on a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop giving the release to anybody new.
    Pause,
    /// Go on, after a pause or a halt. Failures until now are forgiven.
    Resume,
    /// Open the next wave without waiting any longer.
    Advance,
    /// Stop for good.
    Abort {
        /// Whether those who have the release are taken back.
        revert: bool,
    },
}

/// Why an event was not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such device in this fleet.
    #[error("the fleet has no such device")]
    UnknownDevice,
    /// The release has no roll-out.
    #[error("the release has no roll-out")]
    NoRollout,
    /// The roll-out is over, or already as it is ordered to be.
    #[error("the roll-out is not in a state in which that can be done")]
    NotNow,
    /// The plan cannot be carried out.
    #[error(transparent)]
    BadPlan(#[from] BadPlan),
    /// Too many roll-outs under way.
    #[error("too many roll-outs are under way: abort or finish some")]
    TooManyRollouts,
    /// What was signed does not change: a release came again with other documents, or an invalid one was to be valid again.
    #[error("a release cannot be changed once it is there, and an invalid one stays invalid")]
    ReleaseFixed,
    /// The lease is too short, or there are too many windows.
    #[error("the lease is shorter than an hour, or there are too many maintenance windows")]
    OutOfBounds,
}

/// What [`Director::poll`](crate::Director::poll) says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store this, then do it.
    Decide(Decision),
    /// This happened, and why; for people.
    Note(Note),
    /// Nothing to do until then, or until something happens.
    Wait {
        /// When to send [`Event::Tick`]; without it, only an event can change anything.
        until: Option<UnixTime>,
    },
}

/// What is to be stored, and then done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Store the record; sign the assignment in it; store the settings for this device alone; tell the device.
    Assign {
        /// Whom.
        device: Uuid,
        /// Replaces the device's record; its `assigned` is what to sign.
        record: Record,
        /// What is filled in; their digests are in the assignment.
        settings: Vec<Filled>,
    },
    /// Store the record; there is nothing to tell.
    Remember {
        /// Whose.
        device: Uuid,
        /// Replaces the device's record.
        record: Record,
    },
    /// Store how far the roll-out of this release is.
    Rollout {
        /// The release's number.
        release: u64,
        /// Replaces what was stored.
        progress: Progress,
    },
}

/// What happened, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A device is kept from something; `None` says that it no longer is.
    Withheld {
        /// The device.
        device: Uuid,
        /// Why.
        why: Option<Withheld>,
    },
    /// A device reported a counter that was never given out: what was stored is older than what was told.
    CounterBehind {
        /// The device.
        device: Uuid,
        /// What it reported.
        reported: u64,
    },
    /// An update that a device did not begin in its window was taken back.
    Withdrawn {
        /// The device.
        device: Uuid,
        /// The release that it was told.
        release: u64,
    },
    /// A wave was opened.
    WaveOpened {
        /// The release.
        release: u64,
        /// The wave, from 0.
        wave: u8,
    },
    /// The first device of the open wave succeeded.
    Soaking {
        /// The release.
        release: u64,
        /// The wave, from 0.
        wave: u8,
    },
    /// Too many failed.
    Halted {
        /// The release.
        release: u64,
        /// Whether those who have it are taken back.
        revert: bool,
    },
    /// Every wave was opened and has soaked.
    Completed {
        /// The release.
        release: u64,
    },
}
