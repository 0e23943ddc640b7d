//! The daemon: the agent, driven through its tunnel to the fleet, with an engine that runs its components.
//!
//! What must stay true:
//! - it works with no network at boot: what is committed is started before anything else is tried;
//! - it ends without touching a container, and the next one adopts them;
//! - every record is on the disk, whole, before the agent hears of it.

mod chosen;
mod config;
mod desk;
mod doctor;
mod documents;
mod doors;
mod features;
mod handshakes;
mod inbound;
mod journal;
mod links;
mod local;
mod metrics;
mod notify;
mod platform;
#[cfg(test)]
mod provisioning;
mod records;
mod run;
mod senders;
mod shipping;
mod status;
mod steps;
mod sweep;
mod tunnel;
mod way;

pub use config::{Config, ConfigError, EngineKind, Transport, TunnelKind};
pub use doctor::{Diagnosis, Finding, Verdict, examine};
pub use platform::Linux;
pub use records::Records;
pub use run::{RunError, run};
pub use status::{Printed, status};
