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
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use super::config;
use super::desk::Desk;
use super::records::Records;
use super::steps::{self, Job, Tell};
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
    pub(super) happenings: mpsc::UnboundedReceiver<Happening>,
    pub(super) tell: Tell,
    pub(super) desk: Desk,
    pub(super) under_way: BTreeMap<StepId, AbortHandle>,
}

impl<E: Engine + 'static, B: Blobs + 'static> Linux<E, B> {
    fn erase(&self) -> std::io::Result<()> {
        config::erase_provisioning_key(&self.config, &Files::default())
    }
}

impl<E: Engine + 'static, B: Blobs + 'static> Platform for Linux<E, B> {
    fn note(&mut self, _: Instant, note: &Note) {
        tracing::info!(?note, "agent");
        self.desk.note(note);
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
        let job = Job::of(&task);
        let (engine, blobs, tell) = (self.engine.clone(), self.blobs.clone(), self.tell.clone());
        let step = tokio::task::spawn_local(steps::carry_out(engine, blobs, id, job, tell));
        self.under_way.insert(id, step.abort_handle());
    }

    fn cancel(&mut self, id: StepId) {
        if let Some(step) = self.under_way.remove(&id) {
            step.abort();
        }
    }

    async fn next(&mut self) -> Happening {
        let happening = tokio::select! {
            happening = self.happenings.recv() => happening,
            never = self.desk.live() => match never {},
        };
        let happening = happening.expect("the platform holds a sender itself");
        if let Happening::Done(id, _) | Happening::Probed(id, _) = happening {
            self.under_way.remove(&id);
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
