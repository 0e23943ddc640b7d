//! The Docker engine: the same contract as the built-in one, over the API of Docker, balenaEngine or podman.
//!
//! Documents and records of what is staged are the daemon's own, in a [`Store`]; images, containers,
//! networks and volumes are the engine's. A container belongs to exactly one instance and carries its id
//! as a label; nothing without that label is ever touched.
//! Docker's policy `always` would start what was stopped here again after a reboot, so it is never used:
//! both policies that start again become `unless-stopped`.

mod body;
mod container;
mod fault;
mod features;
mod fetch;
mod health;
mod host;
mod network;
mod output;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::Docker;
use lightship_spec::container::{ContainerSpec, Protocol};
use lightship_spec::settings::{Resolved, apply};

use crate::engine::pull::Registries;
use crate::engine::{
    Component, Documents, Engine, Error, Instance, OnProgress, Presence, Provide, blocking,
};
use crate::store::{Digest, InstanceId, Record, Store};

use fault::Answer as _;
use watch::Watch;

/// The label that says which instance a container belongs to.
pub(crate) const LABEL: &str = "io.lightship.instance";

/// Longer than any stop grace that is sensible: the driver bounds each step itself.
const API_TIMEOUT_S: u64 = 3600;

/// What the device allows and knows.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Folders of the host that specs may mount, with everything in them.
    pub binds: Vec<PathBuf>,
    /// The daemon's own folders and files, which are never mounted.
    pub own: Vec<PathBuf>,
    /// Whether specs may ask for what makes a container the host's master.
    pub privileged: bool,
    /// Where the containers' output is kept.
    pub logs: PathBuf,
    /// Knows what the device shows at a registry; without it, all are asked anonymously.
    pub registries: Option<Registries>,
    /// Gives each container what the daemon has for it; without it there are neither locks nor a local API.
    pub provide: Option<Arc<dyn Provide>>,
}

/// An engine over the Docker API.
#[derive(Clone)]
pub struct DockerEngine {
    inner: Arc<Inner>,
}

/// What the engine and its watcher share.
pub(crate) struct Inner {
    docker: Docker,
    socket: PathBuf,
    store: Store,
    config: Config,
    /// The architecture of the machine that the engine runs on, in OCI's words.
    architecture: String,
    /// It needs systemd for health checks, so the daemon does them.
    is_podman: bool,
    watch: Watch,
}

/// Everything that a container is made from.
pub(crate) struct Plan {
    pub(crate) record: Record,
    pub(crate) spec: ContainerSpec,
    pub(crate) resolved: Resolved,
}

impl Plan {
    /// The name of the container.
    pub(crate) fn container(&self) -> String {
        container_name(&self.record)
    }

    /// The image by its digest: what is run is what was signed.
    pub(crate) fn image(&self) -> String {
        format!("{}@{}", self.spec.image, self.record.artifact)
    }
}

fn container_name(record: &Record) -> String {
    format!("lightship-{}-{}", record.name, record.id())
}

impl DockerEngine {
    /// Connects to the engine behind `socket`; `store` is this engine's alone.
    ///
    /// Must be called within a tokio runtime: watching for changes is a task of it.
    ///
    /// # Errors
    /// When there is no engine behind the socket.
    pub async fn connect(socket: &Path, store: Store, config: Config) -> Result<Self, Error> {
        let path = socket.display().to_string();
        let docker = Docker::connect_with_unix(&path, API_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
            .answer("connecting to the engine")?;
        let docker = docker
            .negotiate_version()
            .await
            .answer("asking the engine for its version")?;
        let info = docker
            .info()
            .await
            .answer("asking the engine about itself")?;
        let architecture = host::architecture(&info.architecture.unwrap_or_default());
        let version = docker.version().await;
        let version = version.answer("asking the engine for its version")?;
        let parts = version.components.unwrap_or_default();
        let is_podman = parts.iter().any(|part| part.name.starts_with("Podman"));
        let inner = Arc::new(Inner {
            docker,
            socket: socket.to_owned(),
            store,
            config,
            architecture,
            is_podman,
            watch: Watch::default(),
        });
        inner.watch.begin(&inner);
        for record in inner.records().await? {
            health::adopt(&inner, &record).await;
            if let Ok(plan) = inner.plan(record).await {
                output::follow(&inner, &plan.record, plan.spec.logs.max_bytes);
            }
        }
        Ok(Self { inner })
    }
}

impl Inner {
    async fn records(&self) -> Result<Vec<Record>, Error> {
        let store = self.store.clone();
        blocking(move || {
            let records = store.records();
            records.map_err(|error| Error::system("reading the records", error))
        })
        .await
    }

    async fn record(&self, instance: &Instance) -> Result<Record, Error> {
        let store = self.store.clone();
        let id = InstanceId::of(&instance.name, &instance.digest);
        let found = blocking(move || {
            let record = store.record(id);
            record.map_err(|error| Error::system("reading a record", error))
        })
        .await?;
        found.ok_or_else(|| Error::Absent(format!("{} {}", instance.name, instance.digest)))
    }

    /// Reads the documents of a record back and fills the settings in.
    async fn plan(&self, record: Record) -> Result<Plan, Error> {
        let spec = self.document(record.spec).await?;
        let spec = ContainerSpec::decode(&spec)
            .map_err(|error| Error::refused("spec", error.to_string()))?;
        let settings = match record.settings {
            Some(digest) => self.document(digest).await?,
            None => br#"{"version":1}"#.to_vec(),
        };
        let settings = lightship_spec::container::Settings::decode(&settings)
            .map_err(|error| Error::refused("settings", error.to_string()))?;
        let resolved = apply(&spec, &settings)
            .map_err(|rejection| Error::refused("settings", rejection.to_string()))?;
        Ok(Plan {
            record,
            spec,
            resolved,
        })
    }

    async fn document(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let store = self.store.clone();
        let bytes = blocking(move || {
            let bytes = store.read_blob(&digest);
            bytes.map_err(|error| Error::system("reading a document", error))
        })
        .await?;
        bytes.ok_or_else(|| Error::Absent(digest.to_string()))
    }
}

impl Engine for DockerEngine {
    async fn inventory(&self) -> Result<Vec<(Instance, Presence)>, Error> {
        let mut all = Vec::new();
        for record in self.inner.records().await? {
            let presence = self.inner.presence(&record).await?;
            all.push((instance_of(&record), presence));
        }
        Ok(all)
    }

    async fn fetch(
        &self,
        component: &Component,
        documents: Documents<'_>,
        on_progress: OnProgress,
    ) -> Result<(), Error> {
        let spec = self.inner.keep(component, documents).await?;
        let image = format!("{}@{}", spec.image, component.artifact);
        self.inner.pull(&spec.image, &image, on_progress).await
    }

    async fn stage(&self, component: &Component) -> Result<(), Error> {
        let record = Record {
            version: 1,
            name: component.instance.name.clone(),
            instance: component.instance.digest,
            artifact: component.artifact,
            spec: component.spec,
            settings: component.settings,
            confirmed: false,
        };
        let plan = self.inner.plan(record.clone()).await?;
        self.inner.check(&plan).await?;
        let store = self.inner.store.clone();
        blocking(move || {
            let staged = store.stage(&record);
            staged.map_err(|error| Error::system("writing a record", error))
        })
        .await?;
        if body::needs_another(&plan.spec) {
            // Its network is another container's, which need not be there before it starts.
            return Ok(());
        }
        self.inner.create(&plan).await
    }

    async fn start(&self, instance: &Instance) -> Result<(), Error> {
        let record = self.inner.record(instance).await?;
        let plan = self.inner.plan(record).await?;
        self.inner.start(&plan).await?;
        self.inner.watch.started(plan.record.id());
        health::begin(&self.inner, &plan);
        output::follow(&self.inner, &plan.record, plan.spec.logs.max_bytes);
        watch::look(&Arc::downgrade(&self.inner)).await;
        Ok(())
    }

    async fn stop(&self, instance: &Instance) -> Result<(), Error> {
        let Ok(record) = self.inner.record(instance).await else {
            return Ok(());
        };
        self.inner.watch.end_probe(record.id());
        let grace_ms = match self.inner.plan(record.clone()).await {
            Ok(plan) => plan.spec.stop_grace_ms,
            Err(_) => 0,
        };
        self.inner.stop(&record, grace_ms).await
    }

    async fn probe(&self, instance: &Instance) -> Result<Presence, Error> {
        match self.inner.record(instance).await {
            Ok(record) => self.inner.presence(&record).await,
            Err(Error::Absent(_)) => Ok(Presence::Missing),
            Err(error) => Err(error),
        }
    }

    async fn confirm(&self, instance: &Instance) -> Result<(), Error> {
        let record = self.inner.record(instance).await?;
        let store = self.inner.store.clone();
        blocking(move || {
            let all = store
                .records()
                .map_err(|e| Error::system("reading the records", e))?;
            store
                .confirm(record.id(), true)
                .map_err(|e| Error::system("confirming", e))?;
            let others = |other: &&Record| other.name == record.name && other.id() != record.id();
            for other in all.iter().filter(others) {
                store
                    .confirm(other.id(), false)
                    .map_err(|e| Error::system("confirming", e))?;
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, instance: &Instance) -> Result<(), Error> {
        let Ok(record) = self.inner.record(instance).await else {
            return Ok(());
        };
        self.inner.watch.end_probe(record.id());
        self.inner.delete(&record).await?;
        self.inner.watch.end_follow(record.id());
        let (store, provide) = (self.inner.store.clone(), self.inner.config.provide.clone());
        let log = self.log_folder(instance);
        blocking(move || {
            let id = record.id();
            let removed = store.remove_instance(id);
            removed.map_err(|error| Error::system("removing a record", error))?;
            match std::fs::remove_dir_all(log) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::system("removing a log", error));
                }
                _ => {}
            }
            let withdrawn = provide.map_or(Ok(()), |provide| provide.withdraw(id));
            withdrawn.map_err(|error| Error::system("taking back what a service was given", error))
        })
        .await
    }

    async fn collect(&self, keep: &[Digest]) -> Result<(), Error> {
        self.inner.collect(keep).await
    }

    async fn life(&self, instance: &Instance) -> Option<u32> {
        let record = self.inner.record(instance).await.ok()?;
        let found = self.inner.inspect(&container_name(&record)).await.ok()??;
        let runs = found.state?.running == Some(true);
        let restarts = u32::try_from(found.restart_count.unwrap_or(0)).unwrap_or(0);
        runs.then_some(restarts.saturating_add(1))
    }

    fn log_folder(&self, instance: &Instance) -> PathBuf {
        let id = InstanceId::of(&instance.name, &instance.digest);
        self.inner.config.logs.join(id.to_string())
    }

    async fn published(&self) -> Result<Vec<(u16, SocketAddr)>, Error> {
        let mut published = Vec::new();
        for record in self.inner.records().await? {
            match self.inner.presence(&record).await? {
                Presence::Starting | Presence::Healthy | Presence::Unhealthy => {}
                Presence::Missing | Presence::Staged | Presence::Exited | Presence::Completed => {
                    continue;
                }
            }
            let plan = self.inner.plan(record).await?;
            let ports = plan.spec.network.ports.iter();
            let open = ports.filter(|port| {
                port.host_ip.is_none() && port.protocol == Protocol::Tcp && port.host != 0
            });
            // The engine itself answers on the host's own address.
            published.extend(open.map(|port| {
                let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port.host));
                (port.host, to)
            }));
        }
        Ok(published)
    }

    async fn changed(&self) -> Result<Instance, Error> {
        self.inner.watch.next().await
    }
}

fn instance_of(record: &Record) -> Instance {
    Instance {
        name: record.name.clone(),
        digest: record.instance,
    }
}
