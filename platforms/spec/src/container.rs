//! The container spec: everything an engine is told about running one container.
//!
//! It is the opaque blob whose digest the publisher signs (design.md 3.1), so its meaning must not
//! depend on anything but its bytes: no default is read from the device, no name is looked up, and a
//! field that this version does not know is refused rather than skipped.
//! Absent fields mean what the type's documentation says, for ever; a new meaning is a new version.
//!
//! What is deliberately absent: the image's digest (the component's `artifact`), the order of starting
//! (the component's `after`), the update strategy and health windows (the component's too), and the
//! per-device values (the component's `settings`).

mod decode;
mod mount;
mod network;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use decode::DecodeError;
pub use mount::{Content, InlineFile, Mount};
pub use network::{Network, NetworkMode, Port, Protocol, mac_address};

/// The version that this code writes, and the only one that it reads.
pub const SPEC_VERSION: u16 = 1;

/// A spec larger than this is refused before it is parsed.
pub const MAX_SPEC_BYTES: usize = 64 * 1024;

/// A settings document larger than this is refused before it is parsed.
pub const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// How to run one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// Always [`SPEC_VERSION`].
    pub version: u16,
    /// The application that the service belongs to: the scope of its networks, volumes and names.
    pub application: String,
    /// Where the image is pulled from, without tag or digest: `registry.example:5000/team/web`.
    /// Which image it is, the component's artifact digest alone says.
    pub image: String,
    /// Replaces the image's entrypoint; an empty list clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Added to the image's environment, replacing what has the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The environment variables that a device's settings may set. No others may be set from outside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settable: BTreeMap<String, Settable>,
    /// `user`, `uid`, `user:group` or `uid:gid`; absent means the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Supplementary groups, names or numbers, beside those of the image's group file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// Absolute path; absent means the image's, or `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Absent means the component's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Free-form labels; an engine keeps them and gives them no meaning.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A service is kept running; a job is run once to its end.
    #[serde(default)]
    pub run: Run,
    /// What the engine does when the container ends by itself.
    #[serde(default)]
    pub restart: Restart,
    /// Signal name (`SIGTERM`) or number; absent means the image's, or `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How long the container may take to end after the stop signal before it is killed.
    #[serde(default = "default_stop_grace_ms")]
    pub stop_grace_ms: u64,
    /// Absent means the image's own health check, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Memory, CPU and process limits.
    #[serde(default)]
    pub limits: Limits,
    /// `nofile`, `nproc`, ... : the POSIX limit of that name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters of the container's own namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// What the container may do to its host.
    #[serde(default)]
    pub security: Security,
    /// Device nodes of the host that the container gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Rules of the devices cgroup in the kernel's form: `c 188:* rwm`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_rules: Vec<String>,
    /// How the container is connected.
    #[serde(default)]
    pub network: Network,
    /// Volumes, bind mounts and tmpfs, in order of mounting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Files that the engine writes into the container (configs and secrets).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InlineFile>,
    /// Size of `/dev/shm` in bytes; absent means 64 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
    /// Run the command below an init that forwards signals and reaps orphans.
    #[serde(default, skip_serializing_if = "is_false")]
    pub init: bool,
    /// Give the command a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Keep standard input open.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stdin_open: bool,
    /// How much of its output is kept on the device.
    #[serde(default)]
    pub logs: Logs,
    /// Things of the device that the container asks for beyond an ordinary one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<Feature>,
}

/// A variable that a device's settings may set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settable {
    /// Without a value for it the container is not started.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Its value is kept out of logs and status.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
    /// What values it takes.
    #[serde(default, skip_serializing_if = "Kind::is_any_text")]
    pub kind: Kind,
}

/// What values a variable takes. A value of another kind is rejected before anything is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// Any text without NUL.
    #[default]
    Text,
    /// A whole number in decimal.
    Integer {
        /// The least value allowed.
        min: i64,
        /// The greatest value allowed.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these texts.
    OneOf(BTreeSet<String>),
}

impl Kind {
    fn is_any_text(&self) -> bool {
        matches!(self, Self::Text)
    }
}

/// Per-device values: the blob whose digest is the component's `settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Always [`SPEC_VERSION`].
    pub version: u16,
    /// Values of environment variables; each must be in the spec's `settable`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// Whether the container is kept running or runs to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// Kept running.
    #[default]
    Service,
    /// Runs once; exit status 0 is its success.
    Job,
}

/// What happens when the container ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Restart {
    /// It stays ended.
    No,
    /// It is started again after an exit status other than 0.
    OnFailure {
        /// How often in a row; absent means without end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempts: Option<u32>,
    },
    /// It is started again, also after a reboot.
    #[default]
    Always,
    /// As `Always`, unless a person stopped it.
    UnlessStopped,
}

/// How an engine finds out whether the container is healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is tried.
    pub test: HealthTest,
    /// From the end of one test to the start of the next.
    #[serde(default = "default_interval_ms")]
    pub interval_ms: u64,
    /// A test that takes longer has failed.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Failures within this time of the start do not count.
    #[serde(default)]
    pub start_period_ms: u64,
    /// The interval during the start period.
    #[serde(default = "default_start_interval_ms")]
    pub start_interval_ms: u64,
    /// So many failures in a row make it unhealthy.
    #[serde(default = "default_retries")]
    pub retries: u32,
}

/// One way of testing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HealthTest {
    /// No test, not even the image's.
    None,
    /// Run these arguments in the container; exit status 0 is healthy.
    Exec(Vec<String>),
    /// Run this line with the container's shell; exit status 0 is healthy.
    Shell(String),
    /// `GET` on this port from inside the container's network; a status of 200 to 399 is healthy.
    Http {
        /// TCP port.
        port: u16,
        /// Path and query, from `/`.
        path: String,
    },
    /// A TCP connection to this port from inside the container's network.
    Tcp {
        /// TCP port.
        port: u16,
    },
}

/// Limits that cgroups enforce. Absent means unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory and swap together in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_bytes: Option<u64>,
    /// Memory below which the container is not reclaimed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation_bytes: Option<u64>,
    /// CPU time in thousandths of one CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Relative weight, 2 to 262144; 1024 is ordinary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// The CPUs that it may run on: `0-2,4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// -1000 to 1000; higher is killed earlier when memory runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Processes over the memory limit wait instead of being killed; only where the host has cgroup v1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oom_kill_disable: bool,
}

/// A POSIX limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// The soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// The hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// What the container may do to its host. The default is Docker's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// All capabilities, all devices, no seccomp, no masked paths.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Capabilities beside the default ones, `NET_ADMIN` or `ALL`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_add: BTreeSet<String>,
    /// Capabilities taken from the default ones, `NET_RAW` or `ALL`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_drop: BTreeSet<String>,
    /// Set-user-ID programs gain nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_new_privileges: bool,
    /// No system call filter.
    #[serde(default, skip_serializing_if = "is_false")]
    pub seccomp_unconfined: bool,
    /// The root file system cannot be written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only_root: bool,
    /// See the host's processes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_pid: bool,
    /// Share the host's System V and POSIX IPC.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_ipc: bool,
    /// Share the host's host name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_uts: bool,
}

/// One device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Path on the host.
    pub host: String,
    /// Path in the container.
    pub container: String,
    /// Letters of `rwm`.
    #[serde(default = "default_access")]
    pub access: String,
}

/// How much output is kept on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Bytes on disk, all files together.
    #[serde(default = "default_log_bytes")]
    pub max_bytes: u64,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            max_bytes: default_log_bytes(),
        }
    }
}

/// Something of the device that an ordinary container does not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// The agent's local API: its socket, and a token that reads, locks and restarts this service alone.
    LocalApi,
    /// Beside that: restart the device and any service, hold all updates off, set tags.
    DeviceControl,
    /// The local API in balena's dialect: `BALENA_SUPERVISOR_*` are set.
    BalenaApi,
    /// The host's D-Bus socket.
    Dbus,
    /// `/sys` of the host, writable.
    Sysfs,
    /// `/proc` of the host.
    Procfs,
    /// The host's kernel modules, read-only.
    KernelModules,
    /// The host's firmware files, read-only.
    Firmware,
    /// The container engine's own socket.
    EngineSocket,
    /// All GPU device nodes.
    Gpu,
    /// The host's journal, read-only.
    JournalLogs,
}

impl Feature {
    /// All names, for people.
    pub const NAMES: &str = "local-api, device-control, balena-api, dbus, sysfs, procfs, kernel-modules, firmware, engine-socket, gpu or journal-logs";

    /// The feature of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn default_stop_grace_ms() -> u64 {
    10_000
}

fn default_interval_ms() -> u64 {
    30_000
}

fn default_timeout_ms() -> u64 {
    30_000
}

fn default_start_interval_ms() -> u64 {
    5_000
}

fn default_retries() -> u32 {
    3
}

fn default_access() -> String {
    "rwm".to_owned()
}

fn default_log_bytes() -> u64 {
    8 * 1024 * 1024
}
