//! What happened and why, as a closed list: the same note becomes a log line, telemetry and a line of a test transcript.

use crate::event::Failure;
use crate::id::{Digest, Name, Uuid};
use crate::record::{Record, Unreadable};
use crate::time::Instant;
use crate::trust::Offence;
use crate::wire::{KeyKind, Reason, Refusal, Rejection};

/// Something worth telling. A note never asks for anything to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Note {
    /// The device made its own identity; it is about to be saved.
    IdentityMade(Uuid),
    /// There is neither an identity nor a provisioning key: the device runs what it has and talks to nobody.
    Unprovisioned,
    /// Registration is confirmed and saved.
    Registered,
    /// The fleet said no.
    Refused(Refusal),
    /// The provisioning key is gone from the device.
    ProvisioningKeyErased,
    /// The connection is up.
    Connected,
    /// The connection is down, or did not come up; tried again at the given time.
    Disconnected {
        /// Why.
        failure: Failure,
        /// When it is tried again.
        retry_at: Instant,
    },
    /// A new key is proposed to the fleet.
    KeyProposed(KeyKind),
    /// A new key was used with success and the old one is forgotten.
    KeyRotated(KeyKind),
    /// The fleet refused a new key; the old one stays.
    KeyWithdrawn(KeyKind),
    /// The fleet tells of another tunnel; it is tried once it is saved.
    TunnelOffered,
    /// The tunnel that the fleet told of was used with success and the old one is forgotten.
    TunnelReplaced,
    /// The tunnel of the registration is in use again, as the one in its place led to no fleet, or to one that can show nothing valid.
    TunnelRegained,
    /// What came over the connection is not a message.
    Unreadable(Rejection),
    /// The connection goes another way, in order of preference from 0.
    Switched {
        /// Position of the new way in the order of preference.
        to: u8,
        /// What the old way failed with; `None` when a better one came back.
        why: Option<Failure>,
    },
    /// A newer root is trusted.
    RootTrusted(u32),
    /// A document was refused.
    Offence(Offence),
    /// The last assignment expired and there is none newer: updates may be kept from this device.
    Frozen,
    /// A target was accepted and is being prepared.
    TargetAccepted(Digest),
    /// A target that was rejected before is assigned again, unchanged; nothing is done.
    TargetRejectedBefore(Digest),
    /// The trial is about to disturb what runs.
    TrialStarted(Digest),
    /// A trial goes on after a restart of the device, for the given time.
    TrialResumed(u8),
    /// An update lock holds a step off.
    HeldByLock,
    /// The fleet overrides update locks.
    LocksOverridden,
    /// Too many locks; this owner's was not taken.
    LockRefused(Name),
    /// The release is healthy and is kept.
    Committed(Digest),
    /// The release is given up; the committed one is started again.
    Rejected {
        /// The release.
        release: Digest,
        /// Why.
        reason: Reason,
    },
    /// The committed release runs again, whole.
    Reverted,
    /// A step failed.
    StepFailed {
        /// The component.
        component: Name,
        /// Why.
        failure: Failure,
    },
    /// A component failed its probe or exited.
    ComponentFailed(Name),
    /// A record could not be saved; it is tried again.
    RecordNotSaved(Record),
    /// A saved record cannot be read.
    RecordUnreadable(Record, Unreadable),
    /// What is on the device could not be told; asked again at the given time, and nothing is done before.
    InventoryFailed {
        /// Why.
        failure: Failure,
        /// When it is asked again.
        retry_at: Instant,
    },
    /// More instances are on the device than fit in memory; the rest is looked at later.
    InventoryOverflow,
    /// A command was carried out before and is not repeated.
    CommandRepeated(u64),
    /// An order names a component that is not there.
    OrderVoid(Name),
    /// Too many orders wait; this one was not taken.
    OrderRefused,
    /// Notes were lost because nobody polled.
    NotesLost(u16),
}
