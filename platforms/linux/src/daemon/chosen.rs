//! The engine that the configuration chooses, and what else of the machine that choice needs.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{Config, EngineKind};
use super::desk::Desk;
use super::features::features;
use super::run::{RunError, authority, storage};
use crate::docker::{self, DockerEngine};
use crate::engine::builtin::{Builtin, Options};
use crate::engine::pull::Registries;
use crate::engine::{
    Allowances, Component, Documents, Engine, Error, Instance, OnProgress, Presence,
};
use crate::store::{Digest, Files, Store};

/// Where Docker and podman look for the authority of a registry, one folder for each.
const AUTHORITIES: &str = "/etc/docker/certs.d";

/// One of the engines.
pub(super) enum Chosen {
    Builtin(Box<Builtin>),
    Docker(DockerEngine),
}

/// Opens the engine that the configuration names; none where it wants none. Must be called within a tokio runtime.
pub(super) async fn open(
    config: &Config,
    registries: &Registries,
    desk: &Desk,
) -> Result<Option<Arc<Chosen>>, RunError> {
    let chosen = match config.engine {
        EngineKind::None => return Ok(None),
        EngineKind::Builtin => Chosen::Builtin(Box::new(builtin(config, registries, desk)?)),
        EngineKind::Docker => Chosen::Docker(docker(config, registries, desk).await?),
    };
    Ok(Some(Arc::new(chosen)))
}

/// Where keys, and what other services keep, are.
fn own(config: &Config) -> Vec<PathBuf> {
    vec![config.data.clone(), config.run.clone(), config.path.clone()]
}

fn store(config: &Config, folder: &str) -> Result<Store, RunError> {
    let store = Store::open(&config.data.join(folder), Files::default());
    store.map_err(storage("opening the store of images"))
}

fn builtin(config: &Config, registries: &Registries, desk: &Desk) -> Result<Builtin, RunError> {
    let program = std::env::current_exe().map_err(storage("finding this program"))?;
    let options = Options {
        run: config.run.join("engine"),
        logs: config.data.join("logs"),
        program,
        allowances: Allowances {
            binds: config.allowed_binds.clone(),
            own: own(config),
            privileged: config.allow_privileged,
            features: features(config.allow_privileged),
        },
        addresses: Ipv4Addr::new(172, 30, 0, 0),
        cgroup_parent: config.cgroup_parent.clone(),
        provide: Some(desk.provide()),
    };
    Ok(Builtin::open(
        store(config, "engine")?,
        registries.clone(),
        options,
    )?)
}

async fn docker(
    config: &Config,
    registries: &Registries,
    desk: &Desk,
) -> Result<DockerEngine, RunError> {
    let registry = authority(&config.server);
    if let Err(error) = trust(Path::new(AUTHORITIES), &registry, &config.authorities) {
        tracing::warn!(%error, registry, "the engine is not told of the fleet's authority; it pulls from the fleet's registry only if it trusts it already");
    }
    let options = docker::Config {
        binds: config.allowed_binds.clone(),
        own: own(config),
        privileged: config.allow_privileged,
        logs: config.data.join("logs"),
        registries: Some(registries.clone()),
        provide: Some(desk.provide()),
    };
    let store = store(config, "docker")?;
    Ok(DockerEngine::connect(&config.engine_socket, store, options).await?)
}

/// Lets the engine pull from the fleet's own registry: it is asked with the authority that the configuration pins, and with no other.
fn trust(folder: &Path, registry: &str, authorities: &[u8]) -> io::Result<()> {
    let folder = folder.join(registry);
    let path = folder.join("ca.crt");
    if authorities.is_empty() || fs::read(&path).is_ok_and(|known| known == authorities) {
        return Ok(());
    }
    let files = Files::default();
    files.create_dir_all(&folder, 0o755)?;
    files.replace(&path, &folder.join("ca.draft"), authorities)
}

impl Engine for Chosen {
    async fn inventory(&self) -> Result<Vec<(Instance, Presence)>, Error> {
        match self {
            Self::Builtin(engine) => engine.inventory().await,
            Self::Docker(engine) => engine.inventory().await,
        }
    }

    async fn fetch(
        &self,
        component: &Component,
        documents: Documents<'_>,
        on_progress: OnProgress,
    ) -> Result<(), Error> {
        match self {
            Self::Builtin(engine) => engine.fetch(component, documents, on_progress).await,
            Self::Docker(engine) => engine.fetch(component, documents, on_progress).await,
        }
    }

    async fn stage(&self, component: &Component) -> Result<(), Error> {
        match self {
            Self::Builtin(engine) => engine.stage(component).await,
            Self::Docker(engine) => engine.stage(component).await,
        }
    }

    async fn start(&self, instance: &Instance) -> Result<(), Error> {
        match self {
            Self::Builtin(engine) => engine.start(instance).await,
            Self::Docker(engine) => engine.start(instance).await,
        }
    }

    async fn stop(&self, instance: &Instance) -> Result<(), Error> {
        match self {
            Self::Builtin(engine) => engine.stop(instance).await,
            Self::Docker(engine) => engine.stop(instance).await,
        }
    }

    async fn probe(&self, instance: &Instance) -> Result<Presence, Error> {
        match self {
            Self::Builtin(engine) => engine.probe(instance).await,
            Self::Docker(engine) => engine.probe(instance).await,
        }
    }

    async fn confirm(&self, instance: &Instance) -> Result<(), Error> {
        match self {
            Self::Builtin(engine) => engine.confirm(instance).await,
            Self::Docker(engine) => engine.confirm(instance).await,
        }
    }

    async fn remove(&self, instance: &Instance) -> Result<(), Error> {
        match self {
            Self::Builtin(engine) => engine.remove(instance).await,
            Self::Docker(engine) => engine.remove(instance).await,
        }
    }

    async fn collect(&self, keep: &[Digest]) -> Result<(), Error> {
        match self {
            Self::Builtin(engine) => engine.collect(keep).await,
            Self::Docker(engine) => engine.collect(keep).await,
        }
    }

    async fn life(&self, instance: &Instance) -> Option<u32> {
        match self {
            Self::Builtin(engine) => engine.life(instance).await,
            Self::Docker(engine) => engine.life(instance).await,
        }
    }

    fn log_folder(&self, instance: &Instance) -> PathBuf {
        match self {
            Self::Builtin(engine) => engine.log_folder(instance),
            Self::Docker(engine) => engine.log_folder(instance),
        }
    }

    async fn published(&self) -> Result<Vec<(u16, SocketAddr)>, Error> {
        match self {
            Self::Builtin(engine) => engine.published().await,
            Self::Docker(engine) => engine.published().await,
        }
    }

    async fn changed(&self) -> Result<Instance, Error> {
        match self {
            Self::Builtin(engine) => engine.changed().await,
            Self::Docker(engine) => engine.changed().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_written_once_where_the_engine_looks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        trust(folder.path(), "fleet.example.com:8443", b"").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for authority in [b"one", b"two"] {
            trust(folder.path(), "fleet.example.com:8443", authority).unwrap();
            let path = folder.path().join("fleet.example.com:8443/ca.crt");
            assert_eq!(fs::read(path).unwrap(), authority);
        }
    }
}
