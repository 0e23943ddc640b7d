//! The host's half: reqwest and rustls on tokio.
//!
//! [`parts`] gives a [`Runner`] to poll beside the agent, a [`Reader`] for blobs and a [`Logs`] for what applications print.

mod blobs;
mod client;
mod config;
mod failure;
mod logs;
mod message;
mod runner;
mod target;

pub use crate::logs::Kind;
pub use blobs::Reader;
pub use config::{Config, ConfigError};
pub use logs::Logs;
pub use runner::Runner;

use std::sync::Arc;

use embassy_sync::blocking_mutex::raw::RawMutex;
use lightship_link::mailbox::Port;

use client::Access;

/// The parts of a connection to one fleet. The reader and the logs use the credentials that the runner was told last.
pub fn parts<M: RawMutex>(config: Config, port: Port<'_, M>) -> (Runner<'_, M>, Reader, Logs) {
    let config = Arc::new(config);
    let access = Arc::new(Access::default());
    let runner = Runner::new(config.clone(), access.clone(), port);
    let reader = Reader::new(config.clone(), access.clone());
    (runner, reader, Logs::new(config, access))
}
