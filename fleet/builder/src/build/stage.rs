//! A stage as it grows: its configuration, its layers and what is where in them.

use std::collections::BTreeMap;

use super::{Request, Run};
use crate::config::{
    CONFIG, CREATED, Descriptor, Empty, Healthcheck, History, ImageConfig, MANIFEST, Manifest,
    Platform, RootFs,
};
use crate::context::clean;
use crate::dockerfile::{Command, Health, Instruction};
use crate::error::BuildError;
use crate::guard::Guard;
use crate::layer::{self, Data, New, Written};
use crate::layout::Layout;
use crate::tree::{Entry, Kind, Tree};

type Expand<'e> = &'e dyn Fn(&str) -> Result<String, BuildError>;

/// A stage.
#[derive(Clone)]
pub(super) struct Building {
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Descriptor>,
    pub(super) tree: Tree,
    /// Variables of the build that the stage has declared.
    args: BTreeMap<String, String>,
    /// Whether the stage itself said what runs: an entrypoint takes an inherited command away.
    has_command: bool,
}

impl Building {
    pub(super) fn empty(platform: Platform) -> Self {
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: Vec::new(),
            },
            ..ImageConfig::default()
        };
        Self {
            config,
            layers: Vec::new(),
            tree: Tree::default(),
            args: BTreeMap::new(),
            has_command: false,
        }
    }

    pub(super) fn on_image(
        reference: &str,
        platform: &Platform,
        layout: &Layout,
        guard: &Guard,
    ) -> Result<Self, BuildError> {
        let image = layout.find(reference, platform)?;
        if image.manifest.layers.len() != image.config.rootfs.diff_ids.len() {
            return Err(BuildError::BadImage {
                image: reference.to_owned(),
                what: "its manifest and its configuration name different layers".to_owned(),
            });
        }
        let tree = Tree::read(layout, &image.manifest.layers, guard)?;
        Ok(Self {
            config: image.config,
            layers: image.manifest.layers,
            tree,
            args: BTreeMap::new(),
            has_command: false,
        })
    }

    /// What a stage that is built upon this one begins with.
    pub(super) fn successor(&self) -> Self {
        Self {
            args: BTreeMap::new(),
            has_command: false,
            ..self.clone()
        }
    }

    pub(super) fn refuse_triggers(&self, base: &str) -> Result<(), BuildError> {
        let triggers = self
            .config
            .config
            .on_build
            .as_ref()
            .is_some_and(|all| !all.is_empty());
        if triggers {
            return Err(BuildError::BadImage {
                image: base.to_owned(),
                what: "has ONBUILD triggers, which need a Docker or podman engine".to_owned(),
            });
        }
        Ok(())
    }

    /// What `$NAME` stands for: variables of the build, and above them those of the image.
    pub(super) fn scope(&self) -> BTreeMap<String, String> {
        let mut scope = self.args.clone();
        for pair in self.config.config.env.iter().flatten() {
            if let Some((name, value)) = pair.split_once('=') {
                scope.insert(name.to_owned(), value.to_owned());
            }
        }
        scope
    }

    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &str {
        self.config.config.working_dir.as_deref().unwrap_or("/")
    }

    /// Says in the image's history what was done.
    pub(super) fn record(&mut self, text: &str, has_layer: bool) {
        self.config.history.push(History {
            created: Some(CREATED.to_owned()),
            created_by: Some(text.to_owned()),
            comment: Some("lightship".to_owned()),
            empty_layer: !has_layer,
        });
    }

    /// Puts a layer on top.
    pub(super) fn add(&mut self, written: Written, entries: &BTreeMap<String, New>) {
        let number = self.layers.len();
        for (path, new) in entries {
            let kind = match &new.data {
                Data::Folder => Kind::Folder,
                Data::Link(target) => Kind::Link(target.clone()),
                Data::Disk(_) | Data::Text(_) => Kind::File {
                    layer: number,
                    path: path.clone(),
                },
            };
            let entry = Entry {
                kind,
                mode: new.mode,
                uid: new.uid,
                gid: new.gid,
            };
            self.tree.insert(path, entry);
        }
        self.layers.push(written.blob);
        self.config.rootfs.diff_ids.push(written.diff_id);
    }

    /// Everything but copying; says whether it made a layer.
    pub(super) fn apply(
        &mut self,
        instruction: &Instruction,
        expand: Expand<'_>,
        run: &Run<'_, '_>,
    ) -> Result<bool, BuildError> {
        let config = &mut self.config.config;
        match instruction {
            Instruction::Arg(arguments) => self.declare(arguments, expand, run)?,
            Instruction::Env(pairs) => {
                for (name, value) in pairs {
                    let pair = format!("{}={}", expand(name)?, expand(value)?);
                    set_env(config.env.get_or_insert_default(), pair);
                }
            }
            Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let labels = config.labels.get_or_insert_default();
                    labels.insert(expand(name)?, expand(value)?);
                }
            }
            Instruction::Workdir(path) => return self.enter(&expand(path)?, run),
            Instruction::User(user) => config.user = Some(expand(user)?),
            Instruction::StopSignal(signal) => config.stop_signal = Some(expand(signal)?),
            Instruction::Expose(ports) => {
                for port in ports {
                    let port = expand(port)?.to_ascii_lowercase();
                    let named = if port.contains('/') {
                        port
                    } else {
                        format!("{port}/tcp")
                    };
                    config
                        .exposed_ports
                        .get_or_insert_default()
                        .insert(named, Empty {});
                }
            }
            Instruction::Volume(paths) => {
                for path in paths {
                    config
                        .volumes
                        .get_or_insert_default()
                        .insert(expand(path)?, Empty {});
                }
            }
            Instruction::Cmd(command) => {
                let words = self.words(command);
                self.config.config.cmd = Some(words);
                self.has_command = true;
            }
            Instruction::Entrypoint(command) => {
                let words = self.words(command);
                self.config.config.entrypoint = Some(words);
                if !self.has_command {
                    self.config.config.cmd = None;
                }
            }
            Instruction::Shell(words) => config.shell = Some(words.clone()),
            Instruction::Healthcheck(health) => {
                let health = self.health(health.as_ref());
                self.config.config.healthcheck = Some(health);
            }

            Instruction::Onbuild(text) => {
                config.on_build.get_or_insert_default().push(text.clone())
            }
            Instruction::Maintainer(name) => self.config.author = Some(name.clone()),
            Instruction::Copy(_) | Instruction::Run => {
                unreachable!("copying and running are told apart before")
            }
        }
        Ok(false)
    }

    fn declare(
        &mut self,
        arguments: &[(String, Option<String>)],
        expand: Expand<'_>,
        run: &Run<'_, '_>,
    ) -> Result<(), BuildError> {
        for (name, default) in arguments {
            let value = match (run.request.args.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(expand(default)?),
                (None, None) => run.globals.get(name).cloned(),
            };
            self.args.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(())
    }

    /// `WORKDIR`: makes the folder if the image has none there.
    fn enter(&mut self, path: &str, run: &Run<'_, '_>) -> Result<bool, BuildError> {
        let absolute = if path.starts_with('/') {
            clean(path)
        } else {
            clean(&format!("{}/{path}", self.folder()))
        };
        self.config.config.working_dir = Some(format!("/{absolute}"));
        let entries = self.missing_folders(&self.tree.resolve(&absolute));
        if entries.is_empty() {
            return Ok(false);
        }
        let written = layer::write(run.request.layout, &entries, &run.guard)?;
        self.add(written, &entries);
        Ok(true)
    }

    /// The folders on the way to `path`, itself included, that the image has not.
    pub(super) fn missing_folders(&self, path: &str) -> BTreeMap<String, New> {
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        let folders = ends.map(|end| &path[..end]);
        let missing = folders.filter(|folder| !self.tree.is_folder(folder));
        missing
            .map(|folder| (folder.to_owned(), new_folder()))
            .collect()
    }

    fn words(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => {
                let usual = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
                let mut words = self.config.config.shell.clone().unwrap_or_else(usual);
                words.push(line.clone());
                words
            }
        }
    }

    fn health(&self, health: Option<&Health>) -> Healthcheck {
        let Some(health) = health else {
            let test = vec!["NONE".to_owned()];
            return Healthcheck {
                test,
                ..Healthcheck::default()
            };
        };
        let test = match &health.test {
            Command::Exec(words) => [&["CMD".to_owned()], words.as_slice()].concat(),
            Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        };
        Healthcheck {
            test,
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        }
    }

    /// Writes configuration and manifest.
    pub(super) fn finish(mut self, request: &Request<'_>) -> Result<Descriptor, BuildError> {
        if !request.labels.is_empty() {
            let labels = self.config.config.labels.get_or_insert_default();
            labels.extend(request.labels.clone());
        }
        self.config.created = Some(CREATED.to_owned());
        let platform = self.config.platform();
        let config =
            serde_json::to_vec(&self.config).expect("maps of a configuration have text keys");
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: request.layout.put(CONFIG, &config)?,
            layers: self.layers,
        };
        let manifest = serde_json::to_vec(&manifest).expect("maps of a manifest have text keys");
        let mut descriptor = request.layout.put(MANIFEST, &manifest)?;
        descriptor.platform = Some(platform);
        Ok(descriptor)
    }
}

pub(super) fn new_folder() -> New {
    New {
        data: Data::Folder,
        mode: 0o755,
        uid: 0,
        gid: 0,
    }
}

fn set_env(all: &mut Vec<String>, pair: String) {
    let name = pair.split('=').next().unwrap_or_default();
    let same = |other: &String| other.split('=').next() == Some(name);
    match all.iter().position(same) {
        Some(at) => all[at] = pair,
        None => all.push(pair),
    }
}
