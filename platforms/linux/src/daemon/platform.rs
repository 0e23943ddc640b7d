//! Linux as the driver sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lightship_core::id::PublicKey;
use lightship_core::record::Record;
use lightship_core::time::Instant;
use lightship_core::{Credentials, Failure, Note, StepId};
use lightship_driver::{Happening, Platform, Task};
use lightship_link::Blobs;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::AbortHandle;

use super::config;
use super::desk::Desk;
use super::journal::Journal;
use super::records::Records;
use super::shipping::Flush;
use super::steps::{self, Job, Tell};
use super::sweep::Needs;
use super::way::Way;
use crate::engine::Engine;
use crate::store::Files;

/// Runs steps as tasks of their own and tells how they went.
pub struct Linux<E, B> {
    pub(super) config: PathBuf,
    pub(super) records: Records,
    pub(super) engine: Option<Arc<E>>,
    pub(super) blobs: Arc<Mutex<B>>,
    pub(super) way: Way,
    pub(super) journal: Journal,
    pub(super) needs: Needs,
    pub(super) flush: Flush,
    /// Whether the fleet is reached, as a registered device.
    pub(super) online: watch::Sender<bool>,
    /// Whoever looks after components is told that something has happened to one.
    pub(super) stirred: watch::Sender<()>,
    /// How the device does is to be said now.
    pub(super) asked: Arc<Notify>,
    pub(super) happenings: mpsc::UnboundedReceiver<Happening>,
    pub(super) tell: Tell,
    pub(super) desk: Desk,
    /// Steps, and whether each touches images or components.
    pub(super) under_way: BTreeMap<StepId, (AbortHandle, bool)>,
}

impl<E: Engine + 'static, B: Blobs + 'static> Linux<E, B> {
    /// A step has come to its end; whether images or components were touched by it.
    fn ended(&self, matters: bool, result: Result<(), Failure>) {
        if matters {
            self.needs.end(result);
            self.stirred.send_replace(());
        }
    }

    fn erase(&self) -> std::io::Result<()> {
        config::erase_provisioning_key(&self.config, &Files::default())
    }
}

impl<E: Engine + 'static, B: Blobs + 'static> Platform for Linux<E, B> {
    fn note(&mut self, _: Instant, note: &Note) {
        tracing::info!(?note, "agent");
        self.desk.note(note);
        self.journal.note(note);
        self.needs.note(note);
        match note {
            Note::Connected => drop(self.online.send_replace(self.way.is_registered())),
            Note::Disconnected { .. } => drop(self.online.send_replace(false)),
            _ => {}
        }
    }

    async fn store(&mut self, record: Record, bytes: &[u8]) -> Result<(), Failure> {
        self.records.save(record, bytes).map_err(|error| {
            tracing::error!(?record, %error, "a record was not saved");
            Failure::Storage
        })?;
        self.desk.saved(record, bytes);
        Ok(())
    }

    async fn erase_provisioning_key(&mut self) -> Result<(), Failure> {
        self.erase().map_err(|error| {
            tracing::error!(%error, "the provisioning key was not erased from the configuration");
            Failure::Storage
        })
    }

    async fn create_key(&mut self, _: u8) -> Result<PublicKey, Failure> {
        Err(Failure::Unusable)
    }

    async fn prepare(&mut self, credentials: &Credentials<'_>) -> Result<(), Failure> {
        self.way.prepare(credentials).await
    }

    fn begin(&mut self, id: StepId, task: Task<'_>) {
        let matters = self.needs.begin(&task);
        let job = Job::of(&task);
        let (engine, blobs, tell) = (self.engine.clone(), self.blobs.clone(), self.tell.clone());
        let (flush, journal) = (self.flush.clone(), self.journal.clone());
        let step = steps::carry_out(engine, blobs, id, job, tell, flush, journal);
        let step = tokio::task::spawn_local(step);
        self.under_way.insert(id, (step.abort_handle(), matters));
    }

    fn cancel(&mut self, id: StepId) {
        if let Some(step) = self.under_way.remove(&id) {
            step.0.abort();
            self.ended(step.1, Ok(()));
        }
    }

    fn asked(&mut self) {
        self.asked.notify_one();
    }

    async fn next(&mut self) -> Happening {
        let happening = tokio::select! {
            happening = self.happenings.recv() => happening,
            never = self.desk.live() => match never {},
        };
        let happening = happening.expect("the platform holds a sender itself");
        match happening {
            Happening::Done(id, result) => {
                if let Some((_, matters)) = self.under_way.remove(&id) {
                    self.ended(matters, result);
                }
            }
            Happening::Probed(id, _) => drop(self.under_way.remove(&id)),
            Happening::Changed(_) => {
                self.stirred.send_replace(());
            }
            _ => {}
        }
        happening
    }

    fn raise_floor(&mut self, _: u32) {
        // No boot loader here refuses images; the record of trust holds the floor.
    }

    fn identify(&mut self) {
        tracing::warn!("identify: this device was asked to make itself known");
    }

    async fn reboot(&mut self) {
        tracing::warn!("the device restarts");
        rustix::fs::sync();
        if let Err(error) = rustix::system::reboot(rustix::system::RebootCommand::Restart) {
            tracing::error!(%error, "the device does not restart");
        }
    }
}
