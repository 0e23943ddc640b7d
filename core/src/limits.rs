//! Every bound of the core, with its reason.
//!
//! The one bound that is not here is the number of components of a release: it is `COMPONENTS`, the const parameter of `Agent`.

use crate::time::Duration;

/// Longest name of a fleet thing (device type, component, product), in bytes: what fits a DNS label prefix and a container name with room for a suffix.
pub const NAME_BYTES: usize = 32;
/// Longest version text, in bytes: a semantic version with a short pre-release tag.
pub const VERSION_BYTES: usize = 24;
/// Longest tunnel endpoint, `host:port`, in bytes.
pub const ENDPOINT_BYTES: usize = 64;
/// Most dependencies (`after`) one component may name.
pub const DEPENDENCIES: usize = 4;
/// Most keys one root document may list: three roles with a spare for each, twice during a rotation.
pub const ROOT_KEYS: usize = 8;
/// Most signatures read from one envelope; more is an attempt to make the device work.
pub const SIGNATURES: usize = 8;
/// Largest signed document, in bytes: a release of 32 components of 110 bytes with eight signatures.
pub const DOCUMENT_BYTES: usize = 4608;
/// Largest message of the device protocol, in bytes, in its postcard form: an assignment and a release.
pub const MESSAGE_BYTES: usize = 5632;
/// Deepest nesting of objects and lists in a JSON message: twice what any message has, because what is not known is skipped by recursion, and on a small device stack is dear.
pub const JSON_DEPTH: usize = 8;
/// Component lines in one report; what does not fit goes into the next.
pub const REPORT_COMPONENTS: usize = 4;
/// Update locks held at once.
pub const LOCKS: usize = 4;
/// Notes that wait to be polled; the oldest give way and are counted.
pub const NOTES: usize = 8;
/// Orders that wait to be carried out; a fleet that sends more waits for the first to be done.
pub const ORDERS: usize = 4;
/// Fetches under way at once: more only share the same bandwidth.
pub const FETCHES: usize = 3;
/// Reboots that one trial may see before it is rejected: enough for a flaky supply, not for ever.
pub const TRIAL_BOOTS: u8 = 10;
/// Inventories that may fail in a row before a trial that has begun is rejected: with [`BACKOFF_LAST`] a quarter of an hour. What is committed is asked for without end, at the longest interval.
pub const INVENTORY_TRIES: u8 = 8;
/// Largest saved record, in bytes, with 32 components.
pub const RECORD_BYTES: usize = 8192;

/// First wait after a failed attempt; doubles each time.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(2);
/// Longest wait between attempts: a fleet that comes back is found within a quarter of an hour.
pub const BACKOFF_LAST: Duration = Duration::from_secs(15 * 60);
/// Longest `Retry-After` that is obeyed, in seconds: a server cannot silence a device for more than a day.
pub const RETRY_AFTER_S: u32 = 24 * 3600;
/// Shortest time between two reports of progress.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Time after which an unanswered message is sent again.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between probes of a component that is starting or on trial.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Time between probes of a committed, healthy component; a platform says at once when something changed.
pub const PROBE_INTERVAL_IDLE: Duration = Duration::from_secs(60);
/// Time a connection with a new key may take before the old one is tried again.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(90);
/// Time after which a pending tunnel that did not come up is tried again, while the one in use works, and after which one that leads to no fleet is doubted: a mistaken one costs a device [`CONNECT_TIMEOUT`] out of each.
pub const TUNNEL_RETRY: Duration = Duration::from_secs(3600);
/// How often the time floor is saved while the clock runs, at most.
pub const CLOCK_SAVE_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Seconds by which the tunnel's time floor is raised at each boot, so that a handshake is always newer than the last (WireGuard paper, section 5.1).
pub const CLOCK_BOOT_STEP_S: u64 = 2 * 24 * 3600;
/// Latest time, in Unix seconds, that the first handshake takes from the first root: the year 2100, so that a nonsensical one leaves room to count.
pub const CLOCK_FIRST_S: u64 = 4_102_444_800;
