//! The work of one build: from the archive in the registry to the images in the registry.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use lightship_api::{BuildTarget, BuiltImage, Name, NewBuild};
use lightship_builder::engine::Engine;
use lightship_builder::project::{Helpers, Project, Target};
use lightship_builder::{BuildError, Cancel, Descriptor, Layout, Limits, Platform, Registries};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::Ended;
use super::journal::Journal;
use crate::config::Builder;
use crate::store::Part;
use crate::{App, db, folder, registry};

/// One build.
pub(super) struct Job<'a> {
    pub(super) app: &'a App,
    pub(super) fleet: &'a Name,
    pub(super) request: &'a NewBuild,
    /// Its own; thrown away afterwards.
    pub(super) folder: &'a Path,
    pub(super) cancel: &'a Cancel,
    /// The same, for what waits for a peer and cannot look.
    pub(super) halt: &'a CancellationToken,
    pub(super) journal: &'a Arc<Journal>,
}

/// The images of one device type, by service.
type Images = Vec<(String, Descriptor)>;

impl From<BuildError> for Ended {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Cancelled => Self::Cancelled,
            // Where things lie on this machine is nobody's business.
            BuildError::Disk { path, error } => {
                let name = path.file_name().unwrap_or_default();
                Self::Failed(format!("{}: {error}", name.to_string_lossy()))
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Ended {
    Ended::Failed(error.to_string())
}

/// Our fault: logged here, and not told outside.
fn broken(error: tokio::task::JoinError) -> Ended {
    tracing::error!(%error, "a build broke down");
    Ended::Failed("the server failed; its log says why".to_owned())
}

/// The bounds of a build.
fn limits(config: &Builder) -> Limits {
    Limits {
        context_bytes: config.project_bytes,
        layer_bytes: config.layer_bytes,
        time: std::time::Duration::from_secs(config.seconds.into()),
        ..Limits::default()
    }
}

impl Job<'_> {
    pub(super) async fn run(&self) -> Result<Vec<BuiltImage>, Ended> {
        folder::make(self.folder).map_err(failed)?;
        let archive = self.folder.join("project.tar.gz");
        self.fetch(&archive).await?;
        let project = self.folder.join("project");
        self.unpack(archive, project.clone()).await?;
        let layout = Layout::open(&self.folder.join("images"))?;
        let mut all = Vec::new();
        for target in &self.request.targets {
            let images = self.build(target, &project, &layout).await?;
            for (service, image) in images {
                all.push(self.publish(target, service, &image, &layout).await?);
            }
        }
        Ok(all)
    }

    /// Brings the archive here from wherever blobs are.
    async fn fetch(&self, to: &Path) -> Result<(), Ended> {
        let digest = &self.request.project;
        let size = db::blobs::size_in_fleet(&self.app.db, self.fleet, digest).await;
        let size = size.map_err(failed)?;
        let len = size.ok_or_else(|| failed("the project's archive is gone; push again"))?;
        let part = Part { from: 0, len };
        let mut pieces = self.app.store.read(digest, part).await.map_err(failed)?;
        let mut file = tokio::fs::File::create_new(to).await.map_err(failed)?;
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            if self.cancel.is_cancelled() {
                return Err(Ended::Cancelled);
            }
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }

    async fn unpack(
        &self,
        archive: std::path::PathBuf,
        to: std::path::PathBuf,
    ) -> Result<(), Ended> {
        self.journal.say("", "", "unpacking the project");
        let (limits, cancel) = (limits(&self.app.config.builder), self.cancel.clone());
        let work = move || {
            folder::make(&to).map_err(failed)?;
            let file = std::fs::File::open(&archive).map_err(failed)?;
            lightship_builder::bundle::unpack(file, &to, limits, &cancel)?;
            std::fs::remove_file(&archive).map_err(failed)
        };
        tokio::task::spawn_blocking(work).await.map_err(broken)?
    }

    /// Builds on a thread of its own: it works while it is polled.
    async fn build(
        &self,
        target: &BuildTarget,
        project: &Path,
        layout: &Layout,
    ) -> Result<Images, Ended> {
        let platform = Platform::read(&target.platform)
            .ok_or_else(|| failed(format!("{:?} is not a platform", target.platform)))?;
        let target = Target {
            platform,
            machine: target.device_type.to_string(),
        };
        let (layout, config) = (layout.clone(), self.app.config.builder.clone());
        let (name, variables) = (self.fleet.to_string(), self.request.variables.clone());
        let path = match &self.request.file {
            Some(file) => project.join(file),
            None => project.to_owned(),
        };
        let (cancel, halt) = (self.cancel.clone(), self.halt.clone());
        let journal = Arc::clone(self.journal);
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let project = Project::open(&path, &name, &variables, &BTreeSet::new())?;
            let plan = project.plan(&target)?;
            let mut log = |service: &str, line: &str| journal.say(&target.machine, service, line);
            let build = async {
                let engine = match &config.engine {
                    Some(socket) => Some(Engine::connect(socket).await?),
                    None => None,
                };
                let registries =
                    Registries::new(std::collections::BTreeMap::new())?.only(&config.registries);
                let helpers = Helpers {
                    engine: engine.as_ref(),
                    registries: Some(&registries).filter(|_| engine.is_none()),
                };
                plan.build(&layout, helpers, limits(&config), &cancel, &mut log)
                    .await
            };
            // A registry or an engine may be silent for long: what waits for it is given up.
            let halted = async {
                tokio::select! {
                    built = build => built,
                    () = halt.cancelled() => Err(BuildError::Cancelled),
                }
            };
            Ok(runtime.block_on(halted)?.into_iter().collect())
        };
        tokio::task::spawn_blocking(work).await.map_err(broken)?
    }

    async fn publish(
        &self,
        target: &BuildTarget,
        service: String,
        image: &Descriptor,
        layout: &Layout,
    ) -> Result<BuiltImage, Ended> {
        let repository = format!("{}/{service}", self.fleet);
        registry::take_in(self.app, &repository, layout, image)
            .await
            .map_err(Ended::Failed)?;
        let said = format!("{} is in {repository}", image.digest);
        self.journal
            .say(target.device_type.as_str(), &service, &said);
        Ok(BuiltImage {
            device_type: target.device_type.clone(),
            service,
            digest: image.digest.clone(),
            size: image.size,
            media_type: image.media_type.clone(),
        })
    }
}
