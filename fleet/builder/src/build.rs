//! Builds an image without any engine: everything but `RUN` is bookkeeping and copying.

mod copy;
mod owner;
mod stage;

use std::collections::BTreeMap;
use std::path::Path;

use lightship_spec::problem::{Collector, Place};

use crate::config::{Descriptor, Platform};
use crate::context::Context;
use crate::dockerfile::{Dockerfile, Stage, Step, expand};
use crate::error::BuildError;
use crate::guard::{Cancel, Guard, Limits};
use crate::layout::Layout;

use stage::Building;

/// Everything that an image is built from.
pub struct Request<'a> {
    /// The folder that `COPY` copies from.
    pub context: &'a Path,
    /// Name of the Dockerfile, for problems.
    pub file: &'a str,
    /// Its text, for problems.
    pub text: &'a str,
    /// The Dockerfile.
    pub dockerfile: &'a Dockerfile,
    /// Values for `ARG`.
    pub args: &'a BTreeMap<String, String>,
    /// The stage to stop at; absent means the last.
    pub target: Option<&'a str>,
    /// Labels beside those of the Dockerfile.
    pub labels: &'a BTreeMap<String, String>,
    /// What it is built for.
    pub platform: &'a Platform,
    /// Where base images are and the new one is put.
    pub layout: &'a Layout,
    /// Its bounds.
    pub limits: Limits,
    /// Ends it from outside.
    pub cancel: &'a Cancel,
}

/// Builds the image and says what was done, line by line, to `log`.
///
/// # Errors
/// Why there is no image. The layout is left as it was, but for blobs that nothing names.
pub fn build(request: &Request<'_>, log: &mut dyn FnMut(&str)) -> Result<Descriptor, BuildError> {
    let dockerfile = request.dockerfile;
    let last = dockerfile
        .stage(request.target)
        .ok_or_else(|| no_stage(request))?;
    if let Some(work) = dockerfile.engine_work(last).into_iter().next() {
        return Err(BuildError::NeedsEngine {
            file: request.file.to_owned(),
            place: work.place,
            what: work.what,
        });
    }
    let guard = Guard::new(request.limits, request.cancel);
    let context = Context::list(request.context, &guard)?;
    let globals = global_arguments(request)?;
    let mut run = Run {
        request,
        guard,
        context,
        globals,
        done: BTreeMap::new(),
        log,
    };
    let needed = dockerfile.needed(last);
    for index in &needed {
        let built = run.stage(*index, &dockerfile.stages[*index])?;
        run.done.insert(*index, built);
    }
    let built = run.done.remove(&last).expect("the last stage is needed");
    let image = built.finish(request)?;
    (run.log)(&format!("built {} for {}", image.digest, request.platform));
    Ok(image)
}

/// A build that runs.
struct Run<'a, 'l> {
    request: &'a Request<'a>,
    guard: Guard,
    context: Context,
    /// Variables before the first `FROM`.
    globals: BTreeMap<String, String>,
    /// The stages that are built.
    done: BTreeMap<usize, Building>,
    log: &'l mut dyn FnMut(&str),
}

impl Run<'_, '_> {
    fn stage(&mut self, index: usize, stage: &Stage) -> Result<Building, BuildError> {
        let base = self.put_in(stage.place, &stage.base)?;
        let mut building = match self.request.dockerfile.stage_before(&base, index) {
            Some(before) => self.done[&before].successor(),
            None if base == "scratch" => Building::empty(self.platform(stage)?),
            None => {
                let platform = self.platform(stage)?;
                Building::on_image(&base, &platform, self.request.layout, &self.guard)?
            }
        };
        building.refuse_triggers(&base)?;
        for (number, step) in stage.steps.iter().enumerate() {
            self.guard.check()?;
            let of = stage.steps.len();
            (self.log)(&format!(
                "[stage {index}, step {} of {of}] {}",
                number + 1,
                step.text
            ));
            self.step(index, &mut building, step)?;
            if building.layers.len() > self.guard.limits.layers {
                let most = self.guard.limits.layers;
                return Err(self.wrong(step.place, format!("more than {most} layers"), ""));
            }
        }
        Ok(building)
    }

    fn platform(&self, stage: &Stage) -> Result<Platform, BuildError> {
        let Some(platform) = &stage.platform else {
            return Ok(self.request.platform.clone());
        };
        let text = self.put_in(stage.place, platform)?;
        let read = Platform::read(&text);
        read.ok_or_else(|| {
            let what = format!("{text:?} is not a platform");
            self.wrong(stage.place, what, "write linux/arm64 or linux/arm/v7")
        })
    }

    /// Puts the global variables into what `FROM` says.
    fn put_in(&self, place: Place, word: &str) -> Result<String, BuildError> {
        let scope = |name: &str| self.globals.get(name).cloned();
        let text = expand(word, self.request.dockerfile.escape, &scope);
        let text = text.map_err(|what| self.wrong(place, what, ""))?;
        if text.is_empty() {
            let what = format!("{word} has no value");
            return Err(self.wrong(
                place,
                what,
                "give it a default with ARG, or a value in args",
            ));
        }
        Ok(text)
    }

    fn wrong(&self, place: Place, what: impl Into<String>, help: &str) -> BuildError {
        wrong(self.request, place, what, help)
    }

    fn step(&mut self, index: usize, to: &mut Building, step: &Step) -> Result<(), BuildError> {
        let scope = to.scope();
        let expanded = |word: &str| {
            expand(word, self.request.dockerfile.escape, &|name: &str| {
                scope.get(name).cloned()
            })
            .map_err(|what| self.wrong(step.place, what, ""))
        };
        if let crate::dockerfile::Instruction::Copy(copy) = &step.instruction {
            let copy = copy::Expanded::new(copy, &expanded)?;
            return self.copy(index, to, step, &copy);
        }
        let changed = to.apply(&step.instruction, &expanded, self)?;
        to.record(&step.text, changed);
        Ok(())
    }
}

fn no_stage(request: &Request<'_>) -> BuildError {
    let target = request.target.unwrap_or_default();
    let place = Place { line: 1, column: 1 };
    wrong(request, place, format!("there is no stage {target:?}"), "")
}

fn wrong(request: &Request<'_>, place: Place, what: impl Into<String>, help: &str) -> BuildError {
    let mut problems = Collector::new(request.file, request.text);
    let help = (!help.is_empty()).then(|| help.to_owned());
    problems.add(place, "", what, help);
    match problems.finish(()) {
        Err(problems) => BuildError::Problems(problems),
        Ok(()) => unreachable!("one problem was added"),
    }
}

/// Variables before the first `FROM`, and those that name the platforms.
fn global_arguments(request: &Request<'_>) -> Result<BTreeMap<String, String>, BuildError> {
    let mut globals = platform_arguments(request.platform);
    for (name, default) in &request.dockerfile.arguments {
        let value = match (request.args.get(name), default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => {
                let scope = |name: &str| globals.get(name).cloned();
                expand(default, request.dockerfile.escape, &scope)
                    .map_err(|what| wrong(request, Place { line: 1, column: 1 }, what, ""))?
            }
            (None, None) => continue,
        };
        globals.insert(name.clone(), value);
    }
    Ok(globals)
}

pub(crate) fn platform_arguments(platform: &Platform) -> BTreeMap<String, String> {
    let host = Platform {
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        }
        .to_owned(),
        os: "linux".to_owned(),
        variant: None,
    };
    let mut all = BTreeMap::new();
    for (prefix, platform) in [("TARGET", platform), ("BUILD", &host)] {
        let variant = platform.variant.clone().unwrap_or_default();
        all.insert(format!("{prefix}PLATFORM"), platform.to_string());
        all.insert(format!("{prefix}OS"), platform.os.clone());
        all.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        all.insert(format!("{prefix}VARIANT"), variant);
    }
    all
}
