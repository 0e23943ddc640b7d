//! A project folder becomes a release for each device type: what its compose file says, built for the type's processor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lightship_api::Name;
use lightship_builder::engine::Engine;
use lightship_builder::project::{Helpers, Project, Target};
use lightship_builder::{
    BuildError, Cancel, Descriptor, Layout, Limits, Manifest, Platform, Registries,
};
use lightship_core::id::{Digest, Name as CoreName};
use lightship_core::limits::DEPENDENCIES;
use lightship_core::target::{self, After, Component, Kind, Mode};
use lightship_spec::compose::Service;
use lightship_spec::container::Run;

use super::upload::{Artifact, Content};
use super::{Built, Push};
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::Output;

/// A project as it was written, and what it is built for.
pub(super) struct Sources<'a> {
    pub(super) project: Project,
    pub(super) targets: Vec<Target>,
    /// The variables that the compose file was read with.
    pub(super) variables: BTreeMap<String, String>,
    /// `host:port/fleet`, where devices find images.
    registry: String,
    fleet: &'a Name,
}

/// What builds on this machine.
struct Here {
    layout: Layout,
    engine: Option<Engine>,
}

pub(super) async fn build(
    push: &Push,
    client: &Client,
    fleet: &Name,
    output: &Output,
) -> Result<Vec<Built>, Failure> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let sources = Sources::open(push, client, fleet, variables.collect())?;
    let images = push
        .images
        .clone()
        .unwrap_or_else(|| beside(&push.project).join(".lightship/images"));
    let here = Here {
        layout: Layout::open(&images).map_err(wrong)?,
        engine: engine(push).await?,
    };
    let mut all = Vec::new();
    for target in &sources.targets {
        let images = here.images(&sources, target, output).await?;
        let artifacts = |name: &str, image: &Descriptor| here.artifacts(fleet, name, image);
        all.push(sources.signable(target, &images, artifacts)?);
    }
    Ok(all)
}

pub(super) fn wrong(error: BuildError) -> Failure {
    let needs_engine = matches!(
        error,
        BuildError::NeedsEngine { .. } | BuildError::MissingImage(_)
    );
    let help = if needs_engine {
        "nothing was uploaded; start Docker or podman, or name its socket with --engine"
    } else {
        "nothing was uploaded"
    };
    Failure::new(Code::Failed, error.to_string()).help(help)
}

/// The folder of a project that is named by its folder or by its compose file.
pub(super) fn beside(project: &Path) -> &Path {
    let file = project.is_file().then(|| project.parent()).flatten();
    file.unwrap_or(project)
}

/// The engine that is named, or the one that runs here, if any.
async fn engine(push: &Push) -> Result<Option<Engine>, Failure> {
    if let Some(socket) = &push.engine {
        return Engine::connect(socket).await.map(Some).map_err(wrong);
    }
    let docker = std::env::var("DOCKER_HOST").ok();
    let docker = docker.and_then(|host| host.strip_prefix("unix://").map(PathBuf::from));
    let podman = std::env::var_os("XDG_RUNTIME_DIR")
        .map(|folder| PathBuf::from(folder).join("podman/podman.sock"));
    let usual = Some(PathBuf::from("/var/run/docker.sock"));
    for socket in [docker, usual, podman].into_iter().flatten() {
        if socket.exists()
            && let Ok(engine) = Engine::connect(&socket).await
        {
            return Ok(Some(engine));
        }
    }
    Ok(None)
}

fn target(text: &str) -> Result<Target, Failure> {
    let bad = || {
        Failure::new(Code::Usage, format!("{text}: expected TYPE=PLATFORM"))
            .help("such as pi4=linux/arm64, bbb=linux/arm/v7, pc=linux/amd64")
    };
    let (name, platform) = text.split_once('=').ok_or_else(bad)?;
    CoreName::new(name).map_err(|_| bad())?;
    Ok(Target {
        platform: Platform::read(platform).ok_or_else(bad)?,
        machine: name.to_owned(),
    })
}

impl<'a> Sources<'a> {
    /// Reads a project's compose file.
    pub(super) fn open(
        push: &Push,
        client: &Client,
        fleet: &'a Name,
        variables: BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let project = Project::open(&push.project, fleet.as_str(), &variables, &BTreeSet::new())
            .map_err(wrong)?;
        let targets = push.types.iter().map(|text| target(text));
        Ok(Self {
            project,
            targets: targets.collect::<Result<_, _>>()?,
            variables,
            registry: format!("{}/{fleet}", client.registry()),
            fleet,
        })
    }

    /// What is signed and uploaded for a device type: specs of this machine's making, and images by digest.
    pub(super) fn signable(
        &self,
        target: &Target,
        images: &BTreeMap<String, Descriptor>,
        artifacts: impl Fn(&str, &Descriptor) -> Result<Vec<Artifact>, Failure>,
    ) -> Result<Built, Failure> {
        let device_type = CoreName::new(&target.machine);
        let mut built = Built {
            device_type: device_type
                .map_err(|_| Failure::new(Code::Usage, "a device type is a name"))?,
            components: Vec::new(),
            artifacts: Vec::new(),
        };
        for (name, service) in &self.project.compose.services {
            let image = images.get(name).ok_or_else(|| {
                Failure::new(Code::Failed, format!("service {name} has no image"))
            })?;
            built.artifacts.extend(artifacts(name, image)?);
            let (component, spec) = self.component(name, service, image)?;
            built.components.push(component);
            built.artifacts.push(spec);
        }
        Ok(built)
    }

    fn component(
        &self,
        name: &str,
        service: &Service,
        image: &Descriptor,
    ) -> Result<(Component, Artifact), Failure> {
        let bad_name = |_| {
            Failure::new(
                Code::Failed,
                format!("service {name}: its name is no component's"),
            )
            .help("use 1 to 32 of a-z 0-9 - _")
        };
        let spec = service.spec(&format!("{}/{name}", self.registry)).encode();
        let component = Component {
            name: CoreName::new(name).map_err(bad_name)?,
            kind: Kind::Container,
            artifact: target::Artifact {
                digest: digest(&image.digest)?,
                size: image.size,
            },
            spec: Digest::of(&spec),
            settings: None,
            mode: match service.spec.run {
                Run::Service => Mode::Service,
                Run::Job => Mode::Job,
            },
            strategy: service.strategy,
            health: service.health,
            after: self.after(name, service)?,
        };
        let spec = Artifact {
            repository: format!("{}/{name}", self.fleet),
            digest: Digest::of(&spec),
            size: spec.len() as u64,
            content: Content::Bytes(spec),
        };
        Ok((component, spec))
    }

    /// Names become positions: services are in the order of their names.
    fn after(
        &self,
        name: &str,
        service: &Service,
    ) -> Result<heapless::Vec<After, DEPENDENCIES>, Failure> {
        let mut all = heapless::Vec::new();
        for (other, condition) in &service.after {
            let position = self
                .project
                .compose
                .services
                .keys()
                .position(|service| service == other);
            let position = position.and_then(|position| u8::try_from(position).ok());
            let component = position.ok_or_else(|| {
                Failure::new(
                    Code::Failed,
                    format!("service {name} depends on {other}, which is not there"),
                )
            })?;
            let after = After {
                component,
                condition: *condition,
            };
            all.push(after).map_err(|_| {
                Failure::new(
                    Code::Failed,
                    format!(
                        "service {name} depends on more than {} others",
                        DEPENDENCIES
                    ),
                )
            })?;
        }
        Ok(all)
    }
}

impl Here {
    /// Builds every service's image.
    async fn images(
        &self,
        sources: &Sources<'_>,
        target: &Target,
        output: &Output,
    ) -> Result<BTreeMap<String, Descriptor>, Failure> {
        let plan = sources.project.plan(target).map_err(wrong)?;
        let mut log = |service: &str, line: &str| output.remark(&format!("{service}: {line}"));
        let cancel = Cancel::default();
        // Without an engine, base images come from their registries, and nothing is run.
        let registries = Registries::new(BTreeMap::new()).map_err(wrong)?;
        let helpers = Helpers {
            engine: self.engine.as_ref(),
            registries: Some(&registries).filter(|_| self.engine.is_none()),
        };
        let images = plan.build(&self.layout, helpers, Limits::default(), &cancel, &mut log);
        images.await.map_err(wrong)
    }

    /// Configuration and layers, then the manifest that names them.
    fn artifacts(
        &self,
        fleet: &Name,
        name: &str,
        image: &Descriptor,
    ) -> Result<Vec<Artifact>, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(
                Code::Failed,
                format!("the image of service {name}: {error}"),
            )
        };
        let bytes = self.layout.document(image).map_err(|error| wrong(&error))?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
        let repository = format!("{fleet}/{name}");
        let mut all = Vec::new();
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            let path = self.layout.blob(&blob.digest).filter(|path| path.is_file());
            all.push(Artifact {
                repository: repository.clone(),
                digest: digest(&blob.digest)?,
                size: blob.size,
                content: Content::File(path.ok_or_else(|| wrong(&"a blob is missing"))?),
            });
        }
        all.push(Artifact {
            repository,
            digest: digest(&image.digest)?,
            size: image.size,
            content: Content::Manifest(image.media_type.clone(), bytes),
        });
        Ok(all)
    }
}

fn digest(text: &str) -> Result<Digest, Failure> {
    let hex = text
        .strip_prefix("sha256:")
        .and_then(|hex| hex.parse().ok());
    hex.ok_or_else(|| Failure::new(Code::Failed, format!("{text} is no SHA-256 digest")))
}
