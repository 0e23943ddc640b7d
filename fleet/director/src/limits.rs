//! Every bound of the director, with its reason.

/// Components of one release: what a device with the most memory has room for, and what fits a signed document.
pub const COMPONENTS: usize = 32;
/// Highest counter ever given out: what a signed 64-bit column of a database holds.
pub const COUNTER: u64 = i64::MAX as u64;
/// Roll-outs under way at once: each is looked at for every device that reports.
pub const LIVE_ROLLOUTS: usize = 16;
/// Waves of one roll-out: nobody follows more.
pub const WAVES: usize = 32;
/// Maintenance windows of one device or fleet: one a day with one to spare.
pub const WINDOWS: usize = 8;
/// Shortest time for which an assignment holds, in seconds: devices must not spend their days renewing it.
pub const LEASE_LEAST_S: u32 = 3600;
/// Time for which an assignment holds unless the fleet says otherwise, in seconds: a month.
pub const LEASE_S: u32 = 30 * 24 * 3600;
