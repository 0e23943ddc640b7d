//! How long a step may take, and how many may be under way.

use lightship_core::time::Duration;

/// Steps under way at once, for each component of a release: the core asks for at most one for each instance that it knows, of which there are three for each component, and for an inventory.
pub const STEPS: usize = 4;

/// Longest time in which a fetch may bring nothing new. A slow network is no reason to give up; a silent one is.
pub const FETCH_SILENCE: Duration = Duration::from_secs(10 * 60);
/// Longest time for unpacking or verifying what was fetched.
pub const STAGE: Duration = Duration::from_secs(20 * 60);
/// Longest time for a start.
pub const START: Duration = Duration::from_secs(2 * 60);
/// Longest time for a stop: longer than any grace that a component may ask for.
pub const STOP: Duration = Duration::from_secs(15 * 60);
/// Longest time for a probe.
pub const PROBE: Duration = Duration::from_secs(30);
/// Longest time for a confirmation by the boot loader.
pub const CONFIRM: Duration = Duration::from_secs(60);
/// Longest time for a removal.
pub const REMOVE: Duration = Duration::from_secs(10 * 60);
/// Longest time for opening the way to the fleet: a tunnel, an interface.
pub const PREPARE: Duration = Duration::from_secs(60);
/// Longest time for saving a record or making a key.
pub const STORE: Duration = Duration::from_secs(60);
/// Longest time for the last message and the end of the connection when the platform ends.
pub const FAREWELL: Duration = Duration::from_secs(2);
