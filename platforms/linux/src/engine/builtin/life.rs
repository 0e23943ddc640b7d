//! Starts and stops shims.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Builtin, Error, Instance, id};
use crate::engine::error::Doing;
use crate::engine::prepare::prepare;
use crate::engine::runtime::{Bundle, Cgroup, Phase, STOP, State, give_life, is_alive, watch};
use crate::engine::{Starting, blocking};
use crate::store::InstanceId;

/// A shim that has not said whether its container runs after so long never will.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a shim needs beyond the container's grace to end.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// What a shim says at its start is no longer.
const MAX_WORD_BYTES: usize = 8 * 1024;

impl Builtin {
    pub(super) async fn start_instance(&self, instance: &Instance) -> Result<(), Error> {
        let id = id(instance);
        let folder = self.folder(id);
        if let Some((shim, state)) = begun(&folder).await? {
            if !matches!(state.phase, Phase::Ended | Phase::Stopped) {
                return Ok(());
            }
            // It is on its way out.
            self.end_shim(&folder, shim).await?;
        }
        let record = self.record(id, &instance.name)?;
        let (spec, settings, image) = self.parts(&record)?;
        let execution = image.config.config.clone().unwrap_or_default();
        let mut prepared = prepare(&spec, &execution, &settings, &self.options.allowances)?;
        if let Some(provide) = &self.options.provide {
            let starting = Starting {
                id,
                name: &record.name,
                spec: &spec,
            };
            let grant = provide.provide(&starting);
            prepared.add(grant.doing("making what a service is given")?);
        }
        clear(&folder, &self.cgroup(id))?;
        let hostname = spec.hostname.clone().unwrap_or_else(|| record.name.clone());
        let network = self.connect(id, &record.name, &spec).await?;
        let bundle = Bundle {
            id: id.to_string(),
            cgroup_parent: self.options.cgroup_parent.clone(),
            name: record.name.clone(),
            digest: record.instance.to_string(),
            folder: folder.clone(),
            layers: image
                .layers
                .iter()
                .map(|layer| self.store.layer(layer))
                .collect(),
            instance: self.store.instance(id),
            volumes: self.store.volume(&spec.application, ""),
            log: self.output_of(id),
            arguments: prepared.arguments,
            environment: prepared.environment,
            user: prepared.user,
            working_dir: prepared.working_dir,
            hostname,
            stop_signal: prepared.stop_signal,
            health: prepared.health,
            files: prepared.files,
            network,
            extra: prepared.extra,
            spec,
        };
        let started = self.launch(&bundle).await;
        if started.is_err() {
            self.disconnect(id).await?;
        }
        started
    }

    async fn launch(&self, bundle: &Bundle) -> Result<(), Error> {
        self.write_names(bundle)?;
        let bytes = serde_json::to_vec(bundle)
            .map_err(std::io::Error::other)
            .doing("writing a bundle")?;
        fs::write(bundle.folder.join("bundle"), bytes).doing("writing a bundle")?;
        let life = give_life(&bundle.folder).doing("starting a shim")?;
        let mut command = Command::new(&self.options.program);
        command.args(["shim", "run"]).arg(&bundle.folder);
        // A process group of its own, so that what ends the daemon does not end the containers.
        command
            .process_group(0)
            .stdin(life)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().doing("starting a shim")?;
        // With the command goes this process's hold of the shim's life.
        drop(command);
        let word = child.stdout.take().expect("its output is a pipe");
        reap(child);
        let word = tokio::time::timeout(START_LIMIT, first_line(word.into())).await;
        let word = word.map_err(|_| Error::Start("the shim says nothing".to_owned()))??;
        match word.split_once(' ') {
            None if word == "started" => Ok(()),
            Some(("failed", why)) => Err(Error::Start(why.to_owned())),
            _ => Err(Error::Start(format!(
                "the shim ended without a word ({word})"
            ))),
        }
    }

    pub(super) async fn stop_instance(&self, id: InstanceId) -> Result<(), Error> {
        let folder = self.folder(id);
        if let Some((shim, _)) = shim_of(&folder).await? {
            self.end_shim(&folder, shim).await?;
        }
        let cgroup = self.cgroup(id);
        blocking(move || sweep(&cgroup)).await?;
        self.disconnect(id).await
    }

    fn cgroup(&self, id: InstanceId) -> Cgroup {
        Cgroup::of(&self.options.cgroup_parent, &id.to_string())
    }

    /// Asks a shim to stop its container and itself, and waits; kills it when it does not.
    async fn end_shim(&self, folder: &Path, shim: Pid) -> Result<(), Error> {
        // Opened before it is known that the number still means the shim, and checked after.
        let Ok(ended) = rustix::process::pidfd_open(shim, PidfdFlags::empty()) else {
            return Ok(());
        };
        if !is_alive(folder) {
            return Ok(());
        }
        let grace = grace(folder);
        let socket = std::os::unix::net::UnixDatagram::unbound().doing("asking a shim to stop")?;
        if socket.send_to(STOP, folder.join("control")).is_ok()
            && wait_for(
                ended.try_clone().doing("waiting for a shim")?,
                grace + STOP_MARGIN,
            )
            .await?
        {
            return Ok(());
        }
        let _ = rustix::process::pidfd_send_signal(&ended, Signal::KILL);
        wait_for(ended, STOP_MARGIN).await?;
        Ok(())
    }
}

/// The shim of a start that was given up, as soon as it has started its container or failed to.
async fn begun(folder: &Path) -> Result<Option<(Pid, State)>, Error> {
    let wait = async {
        loop {
            match shim_of(folder).await? {
                Some((_, state)) if state.starts == 0 && state.phase == Phase::Waiting => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                found => return Ok(found),
            }
        }
    };
    let limited = tokio::time::timeout(START_LIMIT, wait).await;
    limited.map_err(|_| Error::Start("the shim says nothing".to_owned()))?
}

/// The shim that lives for a run folder. One that has only just begun says who it is a moment later.
async fn shim_of(folder: &Path) -> Result<Option<(Pid, State)>, Error> {
    const MAX_LOOKS: u32 = 400;
    for _ in 0..MAX_LOOKS {
        if !is_alive(folder) {
            return Ok(None);
        }
        let state = State::read(folder).doing("reading a state")?;
        if let Some((shim, state)) =
            state.and_then(|state| Some((Pid::from_raw(state.shim)?, state)))
        {
            return Ok(Some((shim, state)));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(Error::Start("a shim does not say who it is".to_owned()))
}

fn grace(folder: &Path) -> Duration {
    let bundle = fs::read(folder.join("bundle")).ok();
    let bundle = bundle.and_then(|bytes| serde_json::from_slice::<Bundle>(&bytes).ok());
    Duration::from_millis(bundle.map_or(10_000, |bundle| bundle.spec.stop_grace_ms))
}

/// Makes an instance's run folder as new.
fn clear(folder: &Path, cgroup: &Cgroup) -> Result<(), Error> {
    sweep(cgroup)?;
    super::gone(fs::remove_dir_all(folder)).doing("clearing a run folder")?;
    for path in [folder.to_owned(), folder.join("root"), folder.join("files")] {
        fs::create_dir(&path).doing("making a run folder")?;
    }
    Ok(())
}

/// Kills what is left in a cgroup, and removes it.
fn sweep(cgroup: &Cgroup) -> Result<(), Error> {
    const MAX_ROUNDS: u32 = 200;
    for _ in 0..MAX_ROUNDS {
        for process in cgroup.processes() {
            if let Some(process) = Pid::from_raw(process) {
                let _ = rustix::process::kill_process(process, Signal::KILL);
            }
        }
        match cgroup.remove() {
            // A process that was killed leaves its cgroup a little later.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(5))
            }
            done => return done.doing("removing a cgroup"),
        }
    }
    Err(Error::Start(
        "processes of the container cannot be killed".to_owned(),
    ))
}

/// Waits for a process to end, and says whether it did.
async fn wait_for(ended: OwnedFd, limit: Duration) -> Result<bool, Error> {
    let ended = watch(ended).doing("waiting for a shim")?;
    let outcome = tokio::time::timeout(limit, ended.readable()).await;
    Ok(outcome.is_ok())
}

/// Takes note of the shim's end, so that it does not stay as a zombie as long as the daemon runs.
fn reap(mut child: Child) {
    let pid = Pid::from_raw(child.id() as i32).expect("a child has a number");
    tokio::spawn(async move {
        let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        if let Ok(ended) = ended.map_err(std::io::Error::from).and_then(watch) {
            let _ = ended.readable().await;
        }
        let _ = child.wait();
    });
}

async fn first_line(pipe: OwnedFd) -> Result<String, Error> {
    rustix::io::ioctl_fionbio(&pipe, true).doing("listening to a shim")?;
    let pipe = watch(pipe).doing("listening to a shim")?;
    let mut word = Vec::new();
    let mut buffer = [0; 512];
    while !word.contains(&b'\n') && word.len() < MAX_WORD_BYTES {
        let mut ready = pipe.readable().await.doing("listening to a shim")?;
        match ready.try_io(|file| std::io::Read::read(&mut file.get_ref(), &mut buffer)) {
            Ok(Ok(0)) => break,
            Ok(Ok(count)) => word.extend_from_slice(&buffer[..count]),
            Ok(Err(error)) => return Err(Error::system("listening to a shim", error)),
            Err(_would_block) => {}
        }
    }
    let word = String::from_utf8_lossy(&word);
    Ok(word.lines().next().unwrap_or_default().to_owned())
}
