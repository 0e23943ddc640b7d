#![doc = include_str!("../README.md")]

mod certificate;
mod clock;
mod config;
mod db;
mod folder;
mod http;
mod metrics;
mod openapi;
mod people;
mod secret;
mod server;

pub use certificate::CertificateError;
pub use config::{Admin, Blobs, Config, ConfigError, Database, Https, Limits, Logs, Mqtt};
pub use server::{Handle, Server, StartError, openapi_json};

use std::sync::Arc;

use lightship_api::{Event, Name};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

/// What every request handler shares.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// See [`App`].
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) db: db::Db,
    pub(crate) secrets: secret::Secrets,
    /// Everything that happens, for whoever listens.
    pub(crate) events: broadcast::Sender<(Name, Event)>,
    /// Wrong credentials, by where they come from.
    pub(crate) failures: http::peer::Rate,
    pub(crate) metrics: metrics::Metrics,
    pub(crate) authority_pem: Arc<str>,
    /// Passwords hashed at the same time: each takes 19 MiB.
    pub(crate) hashing: Semaphore,
    /// Cancelled when the server is to stop.
    pub(crate) stop: CancellationToken,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
