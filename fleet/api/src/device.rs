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
    /// The number of that release; absent when its fleet has no such release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_release: Option<u64>,
    /// The version of that release, as the device says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_version: Option<String>,
    /// The state of its latest report, in the core's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The counter of its newest assignment; 0 before the first.
    pub counter: u64,
    /// Whether it is connected now.
    pub online: bool,
    /// What carries its messages while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
    /// When its tunnel last completed a handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handshake_at: Option<Timestamp>,
    /// When it first used its newest API key; absent while it has its first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_changed_at: Option<Timestamp>,
    /// When it first used its newest tunnel key; absent while it has its first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_key_changed_at: Option<Timestamp>,
    /// When it registered; absent while it is only pre-registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<Timestamp>,
    /// When it was entered here.
    pub created_at: Timestamp,
    /// Whether a person decided that its update locks do not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locks_overridden: bool,
    /// When maintenance windows of its own let it be disturbed; absent means when its fleet's do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<String>>,
    /// Its time zone, if that is not its fleet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What it is made of and how it is doing.
    pub metrics: Metrics,
    /// When it last said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_at: Option<Timestamp>,
}

/// What a device is made of and how it is doing: the body of `POST /device/v1/metrics`.
///
/// What it does not say stays as it said it last; what is not known here is passed over, for an
/// agent may be newer than its server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metrics {
    /// CPU load in percent of all cores, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Bytes of memory in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Bytes in use of the storage that holds the device's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_used_bytes: Option<u64>,
    /// Bytes of that storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_total_bytes: Option<u64>,
    /// Temperature of the hottest sensor in degrees Celsius, -273.15 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<f64>,
    /// Seconds since it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// CPU architecture, as OCI names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub architecture: Option<String>,
    /// The operating system and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub os: Option<String>,
    /// The kernel's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub kernel: Option<String>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub agent: Option<String>,
}

impl Metrics {
    /// What `newer` says, and what it does not say as it was.
    #[must_use]
    pub fn updated(self, newer: Self) -> Self {
        Self {
            cpu_percent: newer.cpu_percent.or(self.cpu_percent),
            memory_used_bytes: newer.memory_used_bytes.or(self.memory_used_bytes),
            memory_total_bytes: newer.memory_total_bytes.or(self.memory_total_bytes),
            disk_used_bytes: newer.disk_used_bytes.or(self.disk_used_bytes),
            disk_total_bytes: newer.disk_total_bytes.or(self.disk_total_bytes),
            temperature_c: newer.temperature_c.or(self.temperature_c),
            uptime_s: newer.uptime_s.or(self.uptime_s),
            architecture: newer.architecture.or(self.architecture),
            os: newer.os.or(self.os),
            kernel: newer.kernel.or(self.kernel),
            agent: newer.agent.or(self.agent),
        }
    }
}

/// What carries a device's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A connection that is held open.
    Mqtt,
    /// Requests, of which one waits for news.
    Https,
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
    /// Maintenance windows of its own, as in a fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<String>>,
    /// Its time zone by its IANA name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// True lets the windows and the time zone of the fleet hold again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fleet_windows: bool,
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

/// Whether update locks count.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Locks {
    /// True has releases applied whatever locks applications hold.
    pub overridden: bool,
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
