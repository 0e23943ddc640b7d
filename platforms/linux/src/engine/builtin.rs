//! The built-in engine: the store, the pull client and the runtime joined to the contract of an engine.
//!
//! What lasts is in the store; what lasts until the device restarts is in the run folder, one folder for
//! each instance that was started, written by its shim. So a daemon that starts finds out all there is
//! to know by looking, and containers do not notice that it was away.

mod connect;
mod exec;
mod life;

pub use exec::Session;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightship_spec::container::{ContainerSpec, Settings};
use tokio::net::UnixDatagram;
use tokio::sync::{Mutex, RwLock};

use super::error::Doing;
use super::image::{Platform, Reference};
use super::prepare::{self, Allowances};
use super::pull::{Image, OnProgress, Puller, Registries};
use super::runtime::{self, Line, LogWatch, Phase, Position, State, Verdict};
use super::unpack::Ownership;
use super::{
    Component, Documents, Engine, Error, Grant, Instance, PROVIDED, Presence, Provide, blocking,
};
use crate::store::{Digest, InstanceId, Keep, Record, Store};

/// What the engine is told by the device's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// For what lasts until the device restarts: `/run/lightship/engine`.
    pub run: PathBuf,
    /// For the containers' output.
    pub logs: PathBuf,
    /// This program, which runs the shims as `PROGRAM shim ...`.
    pub program: PathBuf,
    /// What containers may do beyond the ordinary.
    pub allowances: Allowances,
    /// The first two bytes of the containers' addresses.
    pub addresses: Ipv4Addr,
    /// What the containers' cgroups are below: one name, `lightship` unless two engines share a kernel.
    pub cgroup_parent: String,
    /// Gives each container what the daemon has for it; without it there are neither locks nor a local API.
    pub provide: Option<Arc<dyn Provide>>,
}

/// Runs containers without any other service.
#[derive(Debug)]
pub struct Builtin {
    store: Store,
    puller: Puller,
    options: Options,
    platform: Platform,
    changes: UnixDatagram,
    /// Networks are changed by one at a time.
    ledger: Arc<Mutex<()>>,
    /// Fetches share it; a collection has it alone.
    images: Arc<RwLock<()>>,
}

impl Builtin {
    /// Starts the engine on what is there. Must be called within a tokio runtime with I/O.
    pub fn open(store: Store, registries: Registries, mut options: Options) -> Result<Self, Error> {
        if options.provide.is_some() {
            let provided = PROVIDED.map(|feature| (feature, Grant::default()));
            options.allowances.features.extend(provided);
        }
        // Bundles hold secrets, and what containers say may.
        for folder in [&options.run, &options.logs] {
            std::fs::create_dir_all(folder).doing("making the run folder")?;
            let mode = std::fs::metadata(folder)
                .doing("looking at the run folder")?
                .permissions()
                .mode();
            // A folder that is as it should be is left alone: the disk may be read-only.
            if mode & 0o7777 != 0o700 {
                let private = std::fs::Permissions::from_mode(0o700);
                std::fs::set_permissions(folder, private).doing("closing the run folder")?;
            }
        }
        let changes = options.run.join("changes");
        let _ = std::fs::remove_file(&changes);
        let changes = UnixDatagram::bind(changes).doing("opening the socket for changes")?;
        let platform = Platform::host();
        let puller = Puller::new(store.clone(), registries, platform.clone(), Ownership::Kept);
        let ledger = Arc::default();
        let engine = Self {
            store,
            puller,
            options,
            platform,
            changes,
            ledger,
            images: Arc::default(),
        };
        engine.recover()?;
        Ok(engine)
    }

    /// What the shim of an instance says of it; nothing when it was not started since the device was.
    pub fn state(&self, instance: &Instance) -> Result<Option<State>, Error> {
        State::read(&self.folder(id(instance))).doing("reading a state")
    }

    /// Lines of an instance's output from a position on, and the position after them.
    pub async fn log(
        &self,
        instance: &Instance,
        from: Position,
    ) -> Result<(Vec<Line>, Position), Error> {
        let folder = self.output_of(id(instance));
        blocking(move || runtime::read_log(&folder, from).doing("reading a log")).await
    }

    /// Tells when an instance says more.
    pub fn watch_log(&self, instance: &Instance) -> Result<LogWatch, Error> {
        LogWatch::new(&self.output_of(id(instance))).doing("watching a log")
    }

    fn folder(&self, id: InstanceId) -> PathBuf {
        self.options.run.join(id.to_string())
    }

    fn output_of(&self, id: InstanceId) -> PathBuf {
        self.options.logs.join(id.to_string())
    }

    fn record(&self, id: InstanceId, name: &str) -> Result<Record, Error> {
        let record = self.store.record(id).doing("reading a record")?;
        record.ok_or_else(|| Error::Absent(name.to_owned()))
    }

    /// The documents and the image of a component, all here.
    fn parts(&self, record: &Record) -> Result<(ContainerSpec, Settings, Image), Error> {
        let read = |digest: &Digest| {
            let bytes = self.store.read_blob(digest).doing("reading a document")?;
            bytes.ok_or_else(|| Error::Absent(format!("document {digest}")))
        };
        let wrong = |error: lightship_spec::container::DecodeError| {
            Error::refused("document", error.to_string())
        };
        let spec = ContainerSpec::decode(&read(&record.spec)?).map_err(wrong)?;
        let settings = match &record.settings {
            Some(digest) => Settings::decode(&read(digest)?).map_err(wrong)?,
            None => Settings {
                version: lightship_spec::container::SPEC_VERSION,
                ..Settings::default()
            },
        };
        let image = Image::load(&self.store, &record.artifact, &self.platform)?;
        let image = image.ok_or_else(|| Error::Absent(format!("image {}", record.artifact)))?;
        Ok((spec, settings, image))
    }

    fn presence(&self, record: &Record) -> Result<Presence, Error> {
        let folder = self.folder(record.id());
        let Some(state) = State::read(&folder).doing("reading a state")? else {
            return Ok(Presence::Staged);
        };
        Ok(presence(&state, &folder))
    }
}

/// What a state means; a shim that died took its container with it.
fn presence(state: &State, folder: &Path) -> Presence {
    let job_done = state.last_exit.is_some_and(|exit| exit.status == 0);
    match state.phase {
        Phase::Stopped => Presence::Staged,
        Phase::Ended if job_done && state.is_job => Presence::Completed,
        Phase::Ended => Presence::Exited,
        Phase::Waiting | Phase::Running(_) | Phase::Stopping if !runtime::is_alive(folder) => {
            Presence::Exited
        }
        Phase::Waiting | Phase::Running(Verdict::Unknown) => Presence::Starting,
        Phase::Running(Verdict::Healthy) | Phase::Stopping => Presence::Healthy,
        Phase::Running(Verdict::Unhealthy) => Presence::Unhealthy,
    }
}

fn id(instance: &Instance) -> InstanceId {
    InstanceId::of(&instance.name, &instance.digest)
}

fn record_of(component: &Component) -> Record {
    Record {
        version: 1,
        name: component.instance.name.clone(),
        instance: component.instance.digest,
        artifact: component.artifact,
        spec: component.spec,
        settings: component.settings,
        confirmed: false,
    }
}

impl Engine for Builtin {
    async fn inventory(&self) -> Result<Vec<(Instance, Presence)>, Error> {
        let mut found = Vec::new();
        for record in self.store.records().doing("listing instances")? {
            let presence = self.presence(&record)?;
            found.push((
                Instance {
                    name: record.name,
                    digest: record.instance,
                },
                presence,
            ));
        }
        Ok(found)
    }

    async fn fetch(
        &self,
        component: &Component,
        documents: Documents<'_>,
        on_progress: OnProgress,
    ) -> Result<(), Error> {
        let _images = self.images.read().await;
        let spec = ContainerSpec::decode(documents.spec)
            .map_err(|error| Error::refused("document", error.to_string()))?;
        for (bytes, wanted) in [
            (Some(documents.spec), Some(component.spec)),
            (documents.settings, component.settings),
        ] {
            let found = bytes.map(Digest::of);
            if found != wanted {
                let wanted = wanted.unwrap_or(component.spec);
                let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
                return Err(Error::DigestMismatch { wanted, found });
            }
        }
        let from: Reference =
            spec.image
                .parse()
                .map_err(|error: super::image::ReferenceError| {
                    Error::refused("image", error.to_string())
                })?;
        self.puller
            .pull(&from, &component.artifact, on_progress)
            .await?;
        for bytes in [Some(documents.spec), documents.settings]
            .into_iter()
            .flatten()
        {
            self.store.write_blob(bytes).doing("keeping a document")?;
        }
        Ok(())
    }

    async fn stage(&self, component: &Component) -> Result<(), Error> {
        let _images = self.images.read().await;
        let record = record_of(component);
        let (spec, settings, image) = self.parts(&record)?;
        let execution = image.config.config.unwrap_or_default();
        prepare::prepare(&spec, &execution, &settings, &self.options.allowances)?;
        let store = self.store.clone();
        blocking(move || store.stage(&record).doing("staging")).await
    }

    async fn start(&self, instance: &Instance) -> Result<(), Error> {
        self.start_instance(instance).await
    }

    async fn stop(&self, instance: &Instance) -> Result<(), Error> {
        self.stop_instance(id(instance)).await
    }

    async fn probe(&self, instance: &Instance) -> Result<Presence, Error> {
        match self.store.record(id(instance)).doing("reading a record")? {
            Some(record) => self.presence(&record),
            None => Ok(Presence::Missing),
        }
    }

    async fn confirm(&self, instance: &Instance) -> Result<(), Error> {
        let id = id(instance);
        self.record(id, &instance.name)?;
        let (store, name) = (self.store.clone(), instance.name.clone());
        blocking(move || {
            // The new one first: a cut between the two leaves both marked, never none.
            store.confirm(id, true).doing("confirming")?;
            for other in store.records().doing("listing instances")? {
                if other.name == name && other.id() != id {
                    store.confirm(other.id(), false).doing("confirming")?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, instance: &Instance) -> Result<(), Error> {
        let id = id(instance);
        self.stop_instance(id).await?;
        self.prune_networks().await?;
        let (store, folder, log) = (self.store.clone(), self.folder(id), self.output_of(id));
        let provide = self.options.provide.clone();
        blocking(move || {
            gone(std::fs::remove_dir_all(folder)).doing("removing a run folder")?;
            store.remove_instance(id).doing("removing an instance")?;
            gone(std::fs::remove_dir_all(log)).doing("removing a log")?;
            match provide {
                Some(provide) => provide
                    .withdraw(id)
                    .doing("taking back what a service was given"),
                None => Ok(()),
            }
        })
        .await
    }

    async fn collect(&self, keep: &[Digest]) -> Result<(), Error> {
        let _alone = self.images.write().await;
        let mut kept = Keep::default();
        let mut artifacts: BTreeSet<Digest> = keep.iter().copied().collect();
        for record in self.store.records().doing("listing instances")? {
            kept.blobs.insert(record.spec);
            kept.blobs.extend(record.settings);
            artifacts.insert(record.artifact);
        }
        for artifact in artifacts {
            if let Some(image) = Image::load(&self.store, &artifact, &self.platform)? {
                kept.blobs.extend(image.blobs);
                kept.layers.extend(image.layers);
            }
        }
        // What was asked to be kept by its digest alone may be a spec or settings of a fetched component.
        kept.blobs.extend(keep);
        let store = self.store.clone();
        blocking(move || store.collect(&kept).doing("collecting garbage").map(drop)).await
    }

    async fn life(&self, instance: &Instance) -> Option<u32> {
        let folder = self.folder(id(instance));
        let state = State::read(&folder).ok()??;
        let runs = matches!(state.phase, Phase::Running(_) | Phase::Stopping);
        (runs && runtime::is_alive(&folder)).then_some(state.starts.max(1))
    }

    fn log_folder(&self, instance: &Instance) -> PathBuf {
        self.output_of(id(instance))
    }

    async fn published(&self) -> Result<Vec<(u16, SocketAddr)>, Error> {
        self.published_ports()
    }

    async fn changed(&self) -> Result<Instance, Error> {
        loop {
            let mut buffer = [0; 64];
            let length = self
                .changes
                .recv(&mut buffer)
                .await
                .doing("waiting for changes")?;
            let name = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
            let Ok(id) = name.parse::<InstanceId>() else {
                continue;
            };
            if let Some(record) = self.store.record(id).doing("reading a record")? {
                return Ok(Instance {
                    name: record.name,
                    digest: record.instance,
                });
            }
        }
    }
}

/// Gone already is fine.
fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
