//! Devices as people see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Timestamp};

/// A device of a fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// What the device calls itself; lower-case, with hyphens.
    pub uuid: String,
    /// The fleet it belongs to.
    pub fleet: Name,
    /// What people call it.
    pub name: String,
    /// What kind of hardware it is.
    pub device_type: Name,
    /// For waves, searches and people.
    pub tags: BTreeMap<String, String>,
    /// The number of the release it is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u64>,
    /// The number of the release it was last told to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// The release document it last said it has committed, by digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// The state of its latest report, in the core's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The counter of its newest assignment; 0 before the first.
    pub counter: u64,
    /// Whether it is connected now.
    pub online: bool,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
    /// When its tunnel last completed a handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handshake_at: Option<Timestamp>,
    /// When it registered; absent while it is only pre-registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<Timestamp>,
    /// When it was entered here.
    pub created_at: Timestamp,
    /// What it is made of.
    pub inventory: Inventory,
    /// How it is doing.
    pub metrics: Metrics,
}

/// What a device is made of, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Inventory {
    /// CPU architecture, as OCI names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The operating system and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
}

/// How a device is doing, as it last said itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metrics {
    /// CPU load in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_permille: Option<u32>,
    /// Bytes of memory in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Bytes of storage in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_used_bytes: Option<u64>,
    /// Temperature in thousandths of a degree Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_millicelsius: Option<i32>,
}

/// A device to be entered before it registers.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// The uuid it will register with.
    pub uuid: String,
    /// What people call it; at most 128 bytes.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub name: String,
    /// What kind of hardware it is.
    pub device_type: Name,
    /// At most 32.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What of a device is to change; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicePatch {
    /// What people call it; at most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub name: Option<String>,
    /// All tags; at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// The release a device is to stay on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The release's number; absent lets the device follow its fleet again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
}

/// The fleet a device is to move to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The fleet's name.
    pub fleet: Name,
}

/// What a device can be asked to do at once. Update locks hold back what they cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "command", deny_unknown_fields)]
pub enum Command {
    /// Restart the device.
    Reboot,
    /// Stop and start one service.
    Restart {
        /// The service's name.
        service: String,
    },
    /// Blink or beep so that a person finds it.
    Identify,
    /// Replace its keys now.
    Rotate,
    /// Send a whole report.
    Report,
}
