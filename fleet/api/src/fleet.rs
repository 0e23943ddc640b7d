//! Fleets and who works in them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Role, Timestamp};

/// Devices that are worked on together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fleet {
    /// Unique on this server; never changes, for it is part of image names.
    pub name: Name,
    /// What its releases are releases of, as their publishers sign it.
    pub product: Name,
    /// Free text for people.
    pub description: String,
    /// Which release devices are given that are not pinned.
    pub policy: Policy,
    /// When devices may be disturbed, in their local time; empty means at any time.
    pub windows: Vec<String>,
    /// The time zone of devices that have none of their own, by its IANA name.
    pub zone: String,
    /// When the fleet was made.
    pub created_at: Timestamp,
}

/// Which release the devices of a fleet are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "follow", rename_all = "lowercase")]
pub enum Policy {
    /// The newest final release.
    Latest,
    /// One release, until somebody decides otherwise.
    Pinned {
        /// The release's number.
        release: u64,
    },
}

/// A fleet to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFleet {
    /// Unique on this server.
    pub name: Name,
    /// What its releases are releases of; the fleet's name if absent. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Name>,
    /// Free text for people; at most 1024 bytes.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
}

/// What of a fleet is to change; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetPatch {
    /// Free text for people; at most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub description: Option<String>,
    /// Which release devices are given that are not pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// When devices may be disturbed, in their local time: `mon-fri 22:00-04:00`, `daily 02:00-05:00`.
    ///
    /// Empty means at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<String>>,
    /// The time zone of devices that have none of their own, by its IANA name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// A person's role in a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The user's name.
    pub user: Name,
    /// What the user may do here.
    pub role: Role,
}

/// A role to be given.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// What the user may do here.
    pub role: Role,
}

/// New keys for all devices of a fleet.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetRotation {
    /// Seconds over which the devices are asked one after the other; at most 31 days.
    #[serde(default)]
    #[schema(maximum = 2678400)]
    pub over_s: u32,
}

/// How many devices will be asked for new keys.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RotationPlanned {
    /// Registered devices of the fleet.
    pub devices: u64,
}
