//! What a device tells its fleet of itself.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::codec::{fields, variants};
use crate::id::{Digest, Name, Version};
use crate::limits::REPORT_COMPONENTS;
use crate::trust::Offence;

/// What changed on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// Counts reports since boot; a lower one after a higher one is old news.
    pub sequence: u32,
    /// Boots counted by the device, so that sequences of two boots are not compared.
    pub boot: u32,
    /// The assignment counter last accepted.
    pub counter: u64,
    /// Version of the trusted root.
    pub root: u32,
    /// The release that was committed last.
    pub committed: Option<Digest>,
    /// Its version, for people.
    pub version: Option<Version>,
    /// The release that is being tried, and how far it is.
    pub trial: Option<TrialReport>,
    /// The release that was tried and given up last, and why.
    pub rejected: Option<RejectedReport>,
    /// What a peer did wrong last, since boot.
    pub offence: Option<Offence>,
    /// Whether the last assignment has expired without a newer one.
    pub frozen: bool,
    /// Whether storage fails or cannot be read: what this report says may not survive a power cut, or may not be all.
    pub unsaved: bool,
    /// Components whose state changed; not necessarily all.
    pub components: Vec<ComponentReport, REPORT_COMPONENTS>,
}

/// A release on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TrialReport {
    /// SHA-256 digest of the release's payload.
    pub release: Digest,
    /// How far it is.
    pub phase: Phase,
}

/// A release that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RejectedReport {
    /// SHA-256 digest of the release's payload.
    pub release: Digest,
    /// Why.
    pub reason: Reason,
}

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Being fetched and staged; what ran before still runs.
    Preparing,
    /// Being started and watched.
    Trying,
    /// An update lock holds it off.
    Held,
}

/// Why a release was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The platform cannot run it: another architecture, a spec it must refuse, a broken image.
    Unusable,
    /// A component did not start.
    DidNotStart,
    /// A component exited, crashed or failed its probes too often.
    Unhealthy,
    /// The boot loader went back to the old image.
    BootedOld,
    /// The fleet was not reached in the time that the release sets.
    Unreachable,
    /// Power went or the device restarted too often while it was tried.
    Reboots,
    /// The platform could not tell what is on the device.
    Unseen,
}

/// What a component is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ComponentReport {
    /// Its name in the release.
    pub name: Name,
    /// Digest of the artifact that the state is about.
    pub artifact: Digest,
    /// What it does.
    pub state: ComponentState,
    /// Bytes fetched so far, while it is being fetched.
    pub fetched: Option<u64>,
}

/// The state of a component, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// Waits to be fetched, or is being fetched.
    Fetching,
    /// Fetched or staged, not started.
    Ready,
    /// Started, not yet healthy.
    Starting,
    /// Runs and is healthy.
    Healthy,
    /// Runs and is not healthy.
    Unhealthy,
    /// Has exited.
    Exited,
    /// Ran to completion.
    Completed,
    /// Was stopped.
    Stopped,
}

fields!(Report {
    sequence,
    boot,
    counter,
    root,
    committed,
    version,
    trial,
    rejected,
    offence,
    frozen,
    unsaved,
    components,
});
fields!(TrialReport { release, phase });
fields!(RejectedReport { release, reason });
fields!(ComponentReport {
    name,
    artifact,
    state,
    fetched
});
variants!(Phase {
    Preparing,
    Trying,
    Held
});
variants!(Reason {
    Unusable,
    DidNotStart,
    Unhealthy,
    BootedOld,
    Unreachable,
    Reboots,
    Unseen
});
variants!(ComponentState {
    Fetching,
    Ready,
    Starting,
    Healthy,
    Unhealthy,
    Exited,
    Completed,
    Stopped,
});
