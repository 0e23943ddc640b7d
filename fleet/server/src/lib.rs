#![doc = include_str!("../README.md")]

mod blob;
mod builds;
mod bus;
mod certificate;
mod clock;
mod config;
mod db;
mod device;
mod direct;
mod doors;
mod files;
mod folder;
mod http;
mod kept_keys;
mod logs;
mod metrics;
mod openapi;
mod people;
mod registry;
mod release;
mod roster;
mod rotation;
mod secret;
mod server;
mod signer;
mod specs;
mod standby;
mod store;
mod tunnel;

pub use bus::StartError as BusError;
pub use certificate::CertificateError;
pub use config::{
    Admin, Blobs, Builder, Config, ConfigError, Database, Https, Limits, Logs, Mqtt, Tunnel,
    TunnelBackend,
};
pub use db::Error as DatabaseError;
pub use server::{Handle, Server, StartError, openapi_json, serve};
pub use tunnel::TunnelError;

use std::sync::{Arc, OnceLock, Weak};

use lightship_api::{Event, LogLine, Name};
use tokio::sync::{RwLock, Semaphore, broadcast, mpsc};
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
    /// Registrations, by where they come from.
    pub(crate) registrations: http::peer::Rate,
    pub(crate) metrics: metrics::Metrics,
    pub(crate) roster: roster::Roster,
    pub(crate) directors: direct::Directors,
    pub(crate) signer: signer::Signer,
    pub(crate) store: store::Store,
    pub(crate) builds: builds::Builds,
    pub(crate) uploads: registry::Uploads,
    /// Held for writing while blobs are removed, for reading while they arrive.
    pub(crate) collection: RwLock<()>,
    /// Reports that wait to be stored.
    pub(crate) reports: mpsc::Sender<device::Waiting>,
    /// Log lines as they come.
    pub(crate) log_lines: broadcast::Sender<LogLine>,
    pub(crate) outbox: bus::Outbox,
    bus: OnceLock<Arc<bus::Embedded>>,
    tunnel: OnceLock<tunnel::Tunnel>,
    pub(crate) authority_pem: Arc<str>,
    /// Passwords hashed at the same time: each takes 19 MiB.
    pub(crate) hashing: Semaphore,
    /// Cancelled when the server is to stop.
    pub(crate) stop: CancellationToken,
}

impl App {
    /// For those who are asked by what the app holds.
    pub(crate) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    /// The app, while anybody else uses it.
    pub(crate) fn upgrade(shared: &Weak<Shared>) -> Option<Self> {
        shared.upgrade().map(Self)
    }

    /// The tunnel hub, if there is one.
    pub(crate) fn tunnel(&self) -> Option<&tunnel::Tunnel> {
        self.tunnel.get()
    }

    /// Tells whoever listens to a fleet.
    pub(crate) fn happened(&self, fleet: &Name, event: Event) {
        // Nobody listening is no failure.
        let _ = self.events.send((fleet.clone(), event));
    }

    /// What carries messages to devices.
    pub(crate) fn bus(&self) -> &dyn bus::Bus {
        self.bus
            .get()
            .expect("it is started before anything is served")
            .as_ref()
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
