//! Compose in, container specs out: the [Compose specification](https://compose-spec.io) as far as it has
//! a meaning on a device.
//!
//! Every field is either mapped or refused by name, with its place and what would be right; nothing is
//! dropped in silence. Fields under other `x-` names are not ours and are left alone, as Compose demands.
//! Pure: the files that a compose file names come through [`Files`].

mod build;
mod dotenv;
mod environment;
mod extension;
mod field;
mod files;
mod health;
mod image;
mod labels;
mod limits;
mod mounts;
mod network;
mod order;
mod ports;
mod process;
mod project;
mod quantity;
mod security;
mod service;
mod unsupported;
mod variables;
#[cfg(test)]
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use lightship_core::target::{Condition, Health, Strategy};

use crate::container::ContainerSpec;
use crate::problem::{Collector, Problems};
use crate::yaml;

pub use labels::LOCK_FILES;
pub use quantity::duration_ms;

/// More services than this are refused: a release has no room for more components.
pub const MAX_SERVICES: usize = 32;

/// The other files of the project.
pub trait Files {
    /// The text of the file at this path, which is relative to the compose file's folder.
    ///
    /// # Errors
    /// Why it cannot be read, as one clause.
    fn read(&self, path: &str) -> Result<String, String>;
}

/// A project without other files.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("there is no such file".to_owned())
    }
}

/// Everything that a compose file is read with.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Name of the file, for problems.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The application's name when the file has no `name`.
    pub name: &'a str,
    /// Values for `${NAME}`: those of `.env`, then of the environment of whoever pushes.
    pub variables: &'a BTreeMap<String, String>,
    /// The profiles that are switched on.
    pub profiles: &'a BTreeSet<String>,
    /// The other files of the project.
    pub files: &'a dyn Files,
}

/// An application: the services that its compose file names, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The scope of networks, volumes and names.
    pub name: String,
    /// The services whose profiles are switched on.
    pub services: BTreeMap<String, Service>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where its image comes from.
    pub image: Image,
    /// The services that must have come so far before it is started.
    pub after: BTreeMap<String, Condition>,
    /// How an update replaces it.
    pub strategy: Strategy,
    /// How long old and new may run beside each other in a hand-over, in milliseconds.
    pub hand_over_timeout_ms: Option<u64>,
    /// When a trial counts it as healthy.
    pub health: Health,
    /// What the engine is told; without `image` where the image is built.
    pub spec: ContainerSpec,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// It is pulled by this reference.
    Pull(String),
    /// It is built from a folder of the project.
    Build(Build),
}

/// How an image is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The folder, relative to the compose file's; `.` is the same one.
    pub context: String,
    /// Where the instructions are.
    pub dockerfile: Dockerfile,
    /// Values for `ARG`.
    pub args: BTreeMap<String, String>,
    /// The stage to stop at; absent means the last.
    pub target: Option<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// Where the instructions of a build are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dockerfile {
    /// In this file, relative to the context.
    File(String),
    /// In the compose file itself.
    Inline(String),
}

impl Service {
    /// The spec to be signed. `repository` says where a built image was put; one that is pulled has its own.
    pub fn spec(&self, repository: &str) -> ContainerSpec {
        let mut spec = self.spec.clone();
        if matches!(self.image, Image::Build(_)) {
            repository.clone_into(&mut spec.image);
        }
        spec
    }
}

/// Reads a compose file.
///
/// # Errors
/// Everything that is wrong with it and with the files that it names.
pub fn read(input: &Input<'_>) -> Result<Project, Problems> {
    let mut problems = Collector::new(input.file, input.text);
    let tree = yaml::parse(input.text, &mut problems);
    let project = tree.map(|tree| {
        let tree = variables::expand_all(&tree, input.variables, &mut problems);
        project::read(&tree, input, &mut problems)
    });
    let empty = Project {
        name: String::new(),
        services: BTreeMap::new(),
    };
    problems.finish(project.unwrap_or(empty))
}

/// Reads the text of a `.env` file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_dotenv(
    file: &str,
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Problems> {
    dotenv::read(file, text, variables)
}
