//! A whole project: a folder with a compose file, and Dockerfiles where it says so.
//!
//! Everything that a person wrote is read and checked before anything is built.
//! Dockerfiles are found as balena finds them: `Dockerfile.<machine>`, `Dockerfile.<architecture>`,
//! `Dockerfile.template`, `Dockerfile`; in a template `%%BALENA_ARCH%%` and its kin are filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lightship_spec::compose::{self, Build, Files, Image, Input};
use lightship_spec::problem::Problems;

use crate::build::{Request, build};
use crate::config::{Descriptor, Platform};
use crate::dockerfile::{Dockerfile, EngineWork, Instruction};
use crate::engine::Engine;
use crate::error::{At, BuildError};
use crate::guard::{Cancel, Limits};
use crate::layout::Layout;
use crate::registry::Registries;

/// What a compose file is called, in order of preference.
pub const COMPOSE_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// A larger file is not read: compose files, Dockerfiles and what they name are written by people.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A project with a compose file that is right.
#[derive(Clone, Debug)]
pub struct Project {
    folder: PathBuf,
    /// What the compose file says.
    pub compose: compose::Project,
}

/// What images are built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The processor.
    pub platform: Platform,
    /// The device type, `raspberrypi4-64`.
    pub machine: String,
}

/// What helps where an image is neither in the layout nor can be built without an engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Helpers<'a> {
    /// Runs the commands of Dockerfiles.
    pub engine: Option<&'a Engine>,
    /// Pulls images; without them the engine does.
    pub registries: Option<&'a Registries>,
}

impl<'a> From<Option<&'a Engine>> for Helpers<'a> {
    fn from(engine: Option<&'a Engine>) -> Self {
        Self {
            engine,
            registries: None,
        }
    }
}

/// What is to be done for one target; everything in it was checked.
#[derive(Debug)]
pub struct Plan {
    platform: Platform,
    steps: BTreeMap<String, Step>,
}

#[derive(Debug)]
enum Step {
    Pull(String),
    Build(Box<Recipe>),
}

#[derive(Debug)]
struct Recipe {
    context: PathBuf,
    /// Name of the Dockerfile, as seen from the project.
    file: String,
    text: String,
    dockerfile: Dockerfile,
    build: Build,
    last: usize,
}

impl Project {
    /// Reads the compose file of a folder, or this one; `name` is the application's when the file has none.
    ///
    /// `variables` are those of the environment; they count more than those of `.env`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(
        path: &Path,
        name: &str,
        variables: &BTreeMap<String, String>,
        profiles: &BTreeSet<String>,
    ) -> Result<Self, BuildError> {
        let file = compose_file(path)?;
        let parent = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let folder = fs::canonicalize(parent.unwrap_or(Path::new("."))).at(&file)?;
        let beside = Beside(&folder);
        let mut all = match beside.read(".env") {
            Ok(text) => compose::read_dotenv(".env", &text, variables)?,
            Err(_) => BTreeMap::new(),
        };
        all.extend(variables.clone());
        let shown = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = read_text(&file)?;
        let compose = compose::read(&Input {
            file: &shown,
            text: &text,
            name,
            variables: &all,
            profiles,
            files: &beside,
        })?;
        Ok(Self { folder, compose })
    }

    /// Reads and checks every Dockerfile.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn plan(&self, target: &Target) -> Result<Plan, BuildError> {
        let mut steps = BTreeMap::new();
        let mut wrong = Vec::new();
        for (name, service) in &self.compose.services {
            let step = match &service.image {
                Image::Pull(reference) => Ok(Step::Pull(reference.clone())),
                Image::Build(build) => self.recipe(name, build, target),
            };
            match step {
                Ok(step) => {
                    steps.insert(name.clone(), step);
                }
                Err(BuildError::Problems(Problems(problems))) => wrong.extend(problems),
                Err(other) => return Err(other),
            }
        }
        if !wrong.is_empty() {
            return Err(Problems(wrong).into());
        }
        let platform = target.platform.clone();
        Ok(Plan { platform, steps })
    }

    fn recipe(&self, service: &str, build: &Build, target: &Target) -> Result<Step, BuildError> {
        let context = inside(&self.folder, &build.context)?;
        let (file, text) = match &build.dockerfile {
            compose::Dockerfile::Inline(text) => {
                (format!("{service}: dockerfile_inline"), text.clone())
            }
            compose::Dockerfile::File(name) => {
                let name = dockerfile_name(&context, name, target);
                let path = inside(&context, &name)?;
                let shown = path.strip_prefix(&self.folder).unwrap_or(&path);
                (shown.display().to_string(), read_text(&path)?)
            }
        };
        let text = self.fill_in(&text, service, target);
        let dockerfile = Dockerfile::read(&file, &text)?;
        let last = dockerfile.stage(build.target.as_deref()).ok_or_else(|| {
            let target = build.target.as_deref().unwrap_or_default();
            BuildError::Limit(format!("{file}: there is no stage {target:?}"))
        })?;
        Ok(Step::Build(Box::new(Recipe {
            context,
            file,
            text,
            dockerfile,
            build: build.clone(),
            last,
        })))
    }

    /// Puts in what balena's templates ask for.
    fn fill_in(&self, text: &str, service: &str, target: &Target) -> String {
        if !text.contains("%%") {
            return text.to_owned();
        }
        let mut text = text.to_owned();
        for prefix in ["BALENA", "RESIN"] {
            let values = [
                ("ARCH", balena_architecture(&target.platform)),
                ("MACHINE_NAME", target.machine.clone()),
                ("APP_NAME", self.compose.name.clone()),
                ("SERVICE_NAME", service.to_owned()),
            ];
            for (name, value) in values {
                text = text.replace(&format!("%%{prefix}_{name}%%"), &value);
            }
        }
        text
    }
}

impl Plan {
    /// What only a container engine can do, by service.
    pub fn engine_work(&self) -> Vec<(&str, EngineWork)> {
        let mut all = Vec::new();
        for (service, step) in &self.steps {
            if let Step::Build(recipe) = step {
                let work = recipe.dockerfile.engine_work(recipe.last).into_iter();
                all.extend(work.map(|work| (service.as_str(), work)));
            }
        }
        all
    }

    /// The images that the layout must have, as far as no variable hides their names.
    pub fn images(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for step in self.steps.values() {
            match step {
                Step::Pull(reference) => {
                    all.insert(reference.clone());
                }
                Step::Build(recipe) if recipe.dockerfile.engine_work(recipe.last).is_empty() => {
                    all.extend(recipe.bases());
                }
                // An engine finds the bases itself.
                Step::Build(_) => {}
            }
        }
        all
    }

    /// Builds every service's image and says what was done, service and line, to `log`.
    ///
    /// Without helpers, images that are pulled and built upon must be in the layout already.
    /// Building works on the thread that polls: give it one of its own.
    ///
    /// # Errors
    /// Why there is no image for one of them.
    pub async fn build<'h>(
        &self,
        layout: &Layout,
        helpers: impl Into<Helpers<'h>>,
        limits: Limits,
        cancel: &Cancel,
        log: &mut (dyn FnMut(&str, &str) + Send),
    ) -> Result<BTreeMap<String, Descriptor>, BuildError> {
        let helpers = helpers.into();
        let mut images = BTreeMap::new();
        for (service, step) in &self.steps {
            let mut log = |line: &str| log(service, line);
            let work = Work {
                platform: &self.platform,
                layout,
                helpers,
                limits,
                cancel,
            };
            let image = match step {
                Step::Pull(reference) => work.pull(reference, &mut log).await?,
                Step::Build(recipe) => work.build(recipe, &mut log).await?,
            };
            images.insert(service.clone(), image);
        }
        Ok(images)
    }
}

impl Recipe {
    /// The images of `FROM` and `COPY --from` whose names hold no variable.
    fn bases(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for index in self.dockerfile.needed(self.last) {
            let stage = &self.dockerfile.stages[index];
            let copied = stage
                .steps
                .iter()
                .filter_map(|step| match &step.instruction {
                    Instruction::Copy(copy) => copy.from.as_deref(),
                    _ => None,
                });
            let names = std::iter::once(stage.base.as_str()).chain(copied);
            let outside = names.filter(|name| {
                let is_stage = self.dockerfile.stage_before(name, index).is_some();
                !is_stage && *name != "scratch" && !name.contains('$')
            });
            all.extend(outside.map(str::to_owned));
        }
        all
    }
}

/// Everything that building one image takes beside its recipe.
struct Work<'a> {
    platform: &'a Platform,
    layout: &'a Layout,
    helpers: Helpers<'a>,
    limits: Limits,
    cancel: &'a Cancel,
}

impl Work<'_> {
    /// From the layout, else with the engine.
    async fn pull(
        &self,
        reference: &str,
        log: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Descriptor, BuildError> {
        match self.layout.resolve(reference, self.platform) {
            Err(BuildError::MissingImage(_) | BuildError::BadImage { .. }) => {}
            found => return found,
        }
        let Helpers { engine, registries } = self.helpers;
        if engine.is_some() || registries.is_some() {
            log(&format!("pulling {reference}"));
        }
        let (platform, layout, cancel) = (self.platform, self.layout, self.cancel);
        if let Some(registries) = registries {
            return registries
                .pull(reference, platform, layout, self.limits, cancel)
                .await;
        }
        match engine {
            Some(engine) => engine.pull(reference, platform, layout, cancel).await,
            None => self.layout.resolve(reference, self.platform),
        }
    }

    async fn build(
        &self,
        recipe: &Recipe,
        log: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Descriptor, BuildError> {
        let request = Request {
            context: &recipe.context,
            file: &recipe.file,
            text: &recipe.text,
            dockerfile: &recipe.dockerfile,
            args: &recipe.build.args,
            target: recipe.build.target.as_deref(),
            labels: &recipe.build.labels,
            platform: self.platform,
            layout: self.layout,
            limits: self.limits,
            cancel: self.cancel,
        };
        let mut pulled = BTreeSet::new();
        loop {
            let missing = match (build(&request, &mut *log), self.helpers.engine) {
                (Err(BuildError::NeedsEngine { .. }), Some(engine)) => {
                    return engine.build(&request, log).await;
                }
                (Err(BuildError::MissingImage(missing)), _) => missing,
                (built, _) => return built,
            };
            if !pulled.insert(missing.clone()) {
                return Err(BuildError::MissingImage(missing));
            }
            self.pull(&missing, log).await?;
        }
    }
}

/// The files beside a compose file, and none above its folder.
struct Beside<'a>(&'a Path);

impl Files for Beside<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        let file = fs::canonicalize(self.0.join(path)).map_err(|error| error.to_string())?;
        if !file.starts_with(self.0) {
            return Err("it lies outside of the project".to_owned());
        }
        read_text(&file).map_err(|error| error.to_string())
    }
}

/// The compose file that a project is opened by: the one that is named, or the first of [`COMPOSE_FILES`] in the folder.
///
/// # Errors
/// When there is none.
pub fn compose_file(path: &Path) -> Result<PathBuf, BuildError> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let mut files = COMPOSE_FILES.iter().map(|name| path.join(name));
    files.find(|file| file.is_file()).ok_or_else(|| {
        let names = COMPOSE_FILES.join(", ");
        BuildError::Limit(format!(
            "{} has no compose file; it is called {names}",
            path.display()
        ))
    })
}

/// The path with links resolved, if it is inside the folder.
fn inside(folder: &Path, path: &str) -> Result<PathBuf, BuildError> {
    let joined = folder.join(path);
    let real = fs::canonicalize(&joined).at(&joined)?;
    let root = fs::canonicalize(folder).at(folder)?;
    if real.starts_with(&root) {
        return Ok(real);
    }
    Err(BuildError::Limit(format!(
        "{} lies outside of the project",
        joined.display()
    )))
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    let length = fs::metadata(path).at(path)?.len();
    if length > MAX_FILE_BYTES {
        let what = format!(
            "{}: {length} bytes; at most {MAX_FILE_BYTES} are read",
            path.display()
        );
        return Err(BuildError::Limit(what));
    }
    fs::read_to_string(path).at(path)
}

/// The most special Dockerfile that is there; one that was named otherwise is taken as it is.
fn dockerfile_name(context: &Path, name: &str, target: &Target) -> String {
    let special = [
        target.machine.clone(),
        balena_architecture(&target.platform),
        "template".to_owned(),
    ];
    let names = special.iter().map(|end| format!("Dockerfile.{end}"));
    let is_usual = name == "Dockerfile";
    let mut there = names.filter(|name| is_usual && context.join(name).is_file());
    there.next().unwrap_or_else(|| name.to_owned())
}

fn balena_architecture(platform: &Platform) -> String {
    match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("arm64", _) => "aarch64",
        ("arm", Some("v6" | "v5")) => "rpi",
        ("arm", _) => "armv7hf",
        ("386", _) => "i386",
        (other, _) => other,
    }
    .to_owned()
}
