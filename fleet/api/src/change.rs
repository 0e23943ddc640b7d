//! The record of every change, and the stream of what happens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Timestamp};

/// Something that somebody changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Counts up on this server.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who: `user:NAME`, `token:ID`, `device:UUID` or `server`.
    pub by: String,
    /// The fleet it concerns, if it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Name>,
    /// What was done, such as `device.moved`.
    pub what: String,
    /// To what: a uuid, a name, a digest.
    pub subject: String,
    /// What else is worth knowing; never a secret.
    pub detail: String,
}

/// A page of changes, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// At most as many as were asked for.
    pub changes: Vec<Change>,
    /// Ask for those before this number to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// One event of the stream of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Somebody changed something.
    Change(Change),
    /// A device came or went.
    Presence {
        /// Its uuid.
        device: String,
        /// Whether it is connected now.
        online: bool,
    },
    /// A device said how it is doing.
    Metrics {
        /// Its uuid.
        device: String,
    },
    /// A device was given a release, or other settings.
    Target {
        /// Its uuid.
        device: String,
        /// The release's number.
        release: u64,
    },
    /// A roll-out went on, or stopped.
    Rollout {
        /// The release's number.
        release: u64,
    },
    /// A build went on, or ended.
    Build {
        /// The build's number.
        build: u64,
    },
    /// A device reported.
    Report {
        /// Its uuid.
        device: String,
        /// The release it concerns, by digest.
        release: String,
        /// The state it is in, in the core's words.
        state: String,
    },
}
