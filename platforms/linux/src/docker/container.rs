//! Making, starting, stopping, removing and looking at one container.

use std::time::Duration;

use bollard::errors::Error as Api;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use lightship_spec::container::Run;
use lightship_spec::settings::ResolvedFile;

use super::fault::{Answer as _, status, words};
use super::{Inner, Plan, body, container_name};
use crate::engine::{Error, Presence, blocking};
use crate::store::{Attributes, Record};

/// A container that is between two states is looked at again so often.
const MAX_LOOKS: u32 = 100;

/// The pause between such looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A container that the engine itself is still cleaning up is removed at the latest by this attempt.
const MAX_REMOVALS: u32 = 10;

/// In an instance's folder: it was stopped from here and did not end by itself.
const STOPPED: &str = "stopped";

/// In an instance's folder: the files of its spec.
const FILES: &str = "files";

impl Inner {
    /// Makes the container, if it is not there.
    pub(super) async fn create(&self, plan: &Plan) -> Result<(), Error> {
        let name = plan.container();
        if self.inspect(&name).await?.is_some() {
            return self.join(plan).await;
        }
        let mut extras = self.extras(plan)?;
        extras.mounts.extend(self.write_files(plan).await?);
        let network = self.network_mode(plan).await?;
        let mut body = body::create(plan, extras, &network);
        if plan
            .spec
            .health
            .as_ref()
            .is_some_and(|health| self.tests_itself(&health.test))
        {
            body.healthcheck = Some(body::no_health());
        }
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        match self.docker.create_container(Some(options), body).await {
            Ok(_) => self.join(plan).await,
            Err(error) if status(&error) == Some(404) => Err(Error::Absent(plan.image())),
            Err(error) if status(&error) == Some(400) => Err(Error::refused("spec", words(&error))),
            Err(error) => Err(super::fault::system("making a container", &error)),
        }
    }

    pub(super) async fn start(&self, plan: &Plan) -> Result<(), Error> {
        if body::needs_another(&plan.spec)
            && self.presence(&plan.record).await? != Presence::Healthy
        {
            // The other container may be another one by now.
            self.delete(&plan.record).await?;
        }
        self.create(plan).await?;
        self.mark_stopped(&plan.record, false).await?;
        let name = plan.container();
        let known = self.inspect(&name).await?.and_then(|known| known.state);
        if known.is_none_or(|state| state.running != Some(true)) {
            // Folders in /run are gone after the device restarted.
            self.grant(plan)?;
        }
        let started = self
            .docker
            .start_container(&name, None::<StartContainerOptions>);
        match started.await {
            Err(error) if status(&error) == Some(304) => Ok(()),
            Err(error) => Err(Error::Start(words(&error))),
            Ok(()) => Ok(()),
        }
    }

    pub(super) async fn stop(&self, record: &Record, grace_ms: u64) -> Result<(), Error> {
        // Before it stops: what ends from now on did not end by itself.
        self.mark_stopped(record, true).await?;
        let grace = i32::try_from(body::seconds(grace_ms)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        let stopped = self
            .docker
            .stop_container(&container_name(record), Some(options))
            .await;
        stopped
            .unless(&[304, 404], "stopping a container")
            .map(|_| ())
    }

    /// Removes the container and what it wrote; its named volumes stay.
    pub(super) async fn delete(&self, record: &Record) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let mut attempts = 0;
        loop {
            let name = container_name(record);
            let removed = self.docker.remove_container(&name, Some(options.clone()));
            let removed = removed.await.unless(&[404], "removing a container");
            attempts += 1;
            if removed.is_ok() || attempts == MAX_REMOVALS {
                return removed.map(|_| ());
            }
            tokio::time::sleep(LOOK_AGAIN * attempts).await;
        }
    }

    pub(super) async fn presence(&self, record: &Record) -> Result<Presence, Error> {
        let state = self.inspect(&container_name(record)).await?;
        let plan = self.plan(record.clone()).await.ok();
        let Some(state) = state.and_then(|container| container.state) else {
            let later = plan.is_some_and(|plan| body::needs_another(&plan.spec));
            return Ok(if later {
                Presence::Staged
            } else {
                Presence::Missing
            });
        };
        let stopped = self.store.instance(record.id()).join(STOPPED).exists();
        let is_job = plan.as_ref().is_some_and(|plan| plan.spec.run == Run::Job);
        let presence = presence(&state, stopped, is_job);
        let health = plan.and_then(|plan| plan.spec.health);
        let is_ours = health.is_some_and(|health| self.tests_itself(&health.test));
        if presence == Presence::Healthy && is_ours {
            return Ok(self.watch.probed(record.id()));
        }
        Ok(presence)
    }

    /// Looks at a container, if it is there.
    ///
    /// Podman has states that are no words of the API, but passes through them quickly.
    pub(super) async fn inspect(
        &self,
        name: &str,
    ) -> Result<Option<ContainerInspectResponse>, Error> {
        let mut looks = 0;
        loop {
            let state = self.docker.inspect_container(name, None).await;
            looks += 1;
            if looks < MAX_LOOKS && matches!(state, Err(Api::JsonDataError { .. })) {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            return state.unless(&[404], "looking at a container");
        }
    }

    async fn mark_stopped(&self, record: &Record, stopped: bool) -> Result<(), Error> {
        let store = self.store.clone();
        let path = store.instance(record.id()).join(STOPPED);
        blocking(move || {
            let marked = match (stopped, path.exists()) {
                (true, false) => store.files().create(&path).and_then(|file| file.sync()),
                (false, true) => store.files().remove_file(&path),
                (true, true) | (false, false) => Ok(()),
            };
            marked.map_err(|error| Error::system("noting a stop", error))
        })
        .await
    }

    /// Writes the spec's files into the instance's folder, which only root can enter.
    async fn write_files(&self, plan: &Plan) -> Result<Vec<bollard::models::Mount>, Error> {
        let store = self.store.clone();
        let folder = store.instance(plan.record.id()).join(FILES);
        let files: Vec<ResolvedFile> = plan.resolved.files.clone();
        blocking(move || {
            let write = || {
                if !files.is_empty() && !folder.is_dir() {
                    store.files().create_dir(&folder, 0o700)?;
                }
                let mut mounts = Vec::new();
                for (number, file) in files.iter().enumerate() {
                    let path = folder.join(number.to_string());
                    let draft = folder.join(format!("{number}.new"));
                    store
                        .files()
                        .replace(&path, &draft, file.content.as_bytes())?;
                    let attributes = Attributes {
                        owner: Some((file.uid, file.gid)),
                        mode: Some(file.mode),
                        ..Attributes::default()
                    };
                    store.files().set_attributes(&path, &attributes)?;
                    let source = path.display().to_string();
                    mounts.push(body::bind(&source, &file.target, true, false));
                }
                Ok(mounts)
            };
            write()
                .map_err(|error: std::io::Error| Error::system("writing the spec's files", error))
        })
        .await
    }
}

/// What the engine's state means, before tests that the daemon does itself.
fn presence(state: &ContainerState, stopped: bool, is_job: bool) -> Presence {
    use ContainerStateStatusEnum as Status;
    let health = state.health.as_ref().and_then(|health| health.status);
    match state.status {
        Some(Status::CREATED) => Presence::Staged,
        Some(Status::RESTARTING) => Presence::Starting,
        Some(Status::RUNNING | Status::PAUSED) => match health {
            Some(HealthStatusEnum::STARTING) => Presence::Starting,
            Some(HealthStatusEnum::UNHEALTHY) => Presence::Unhealthy,
            Some(HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY)
            | None => Presence::Healthy,
        },
        // Podman calls a container without a process `stopped`, `initialized` or `configured`; the API
        // translates these to `exited` and `created`, or leaves the status out.
        Some(
            Status::EXITED | Status::DEAD | Status::REMOVING | Status::EMPTY | Status::STOPPING,
        )
        | None => match (is_job, state.exit_code) {
            _ if stopped => Presence::Staged,
            (true, Some(0)) => Presence::Completed,
            _ => Presence::Exited,
        },
    }
}
