//! The host's half: rumqttc on tokio.
//!
//! [`Runner::new`] takes the transport's sides of a mailbox and of an exchange; poll its [`run`](Runner::run) beside the agent.

mod config;
mod connection;
mod failure;
mod runner;

pub use config::{Config, ConfigError};
pub use runner::Runner;
