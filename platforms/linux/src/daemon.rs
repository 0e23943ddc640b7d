//! The daemon: the agent, driven through its tunnel to the fleet, with an engine that runs its components.
//!
//! What must stay true:
//! - it works with no network at boot: what is committed is started before anything else is tried;
//! - it ends without touching a container, and the next one adopts them;
//! - every record is on the disk, whole, before the agent hears of it.

mod config;
mod documents;
mod doors;
mod handshakes;
mod links;
mod platform;
mod records;
mod run;
mod steps;
mod tunnel;
mod way;

pub use config::{Config, ConfigError, EngineKind, Transport, TunnelKind};
pub use platform::Linux;
pub use records::Records;
pub use run::{RunError, run};
