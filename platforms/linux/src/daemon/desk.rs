//! Where what the daemon knows is kept for those who ask at the device, and where they are answered.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lightship_core::Note;
use lightship_core::record::{Record, Saved};

use super::config::Config;
use super::local::{Board, Facts, Local, Locks, Services, Tags};
use super::notify::Systemd;
use super::steps::Tell;
use crate::engine::{Engine, Provide};

/// See the module.
pub(super) struct Desk {
    board: Arc<Board>,
    services: Arc<Services>,
    locks: Arc<Locks>,
    systemd: Systemd,
    is_ready: bool,
    control: PathBuf,
    tags: PathBuf,
    address: Option<SocketAddr>,
}

impl Desk {
    /// With what was saved in earlier lives. Must be called within a tokio runtime.
    pub(super) fn open(config: &Config, saved: &Saved<'_>) -> io::Result<Self> {
        let address = config.local_api;
        let (run, data) = (config.run.join("services"), config.data.join("services"));
        let services = Services::open(&run, &data, Facts::of(config), address)?;
        let services = Arc::new(services);
        let board = Board::new(saved);
        if let Some(uuid) = board.uuid() {
            services.set_uuid(uuid);
        }
        Ok(Self {
            board: Arc::new(board),
            locks: Arc::new(Locks::new(services.clone())),
            services,
            systemd: Systemd::find(),
            is_ready: false,
            control: config.run.join("control.sock"),
            tags: config.data.join("tags"),
            address,
        })
    }

    /// What the engine gives containers.
    pub(super) fn provide(&self) -> Arc<dyn Provide> {
        self.services.clone()
    }

    /// For whoever hears that a container has changed.
    pub(super) fn locks(&self) -> Arc<Locks> {
        self.locks.clone()
    }

    /// Begins to answer. Locks that hold already are told before the agent does anything.
    pub(super) async fn begin<E: Engine + 'static>(
        &self,
        engine: Option<Arc<E>>,
        tell: Tell,
    ) -> io::Result<()> {
        if let Some(engine) = &engine {
            self.locks.look(&**engine, &tell).await;
        }
        let local = Local {
            board: self.board.clone(),
            services: self.services.clone(),
            locks: self.locks.clone(),
            engine,
            tell,
            tags: Tags::open(&self.tags),
        };
        local.begin(&self.control, self.address)
    }

    /// Takes note of what the agent said.
    pub(super) fn note(&self, note: &Note) {
        self.board.note(note);
    }

    /// Takes note of what the agent saved.
    pub(super) fn saved(&self, record: Record, bytes: &[u8]) {
        self.board.saved(record, bytes);
        if let Some(uuid) = self.board.uuid() {
            self.services.set_uuid(uuid);
        }
    }

    /// To be waited for wherever the driver waits for what happens next, and nowhere else.
    pub(super) async fn live(&mut self) -> Infallible {
        if !self.is_ready {
            self.is_ready = true;
            self.systemd.say("READY=1");
        }
        self.systemd.live().await
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.systemd.say("STOPPING=1");
    }
}
