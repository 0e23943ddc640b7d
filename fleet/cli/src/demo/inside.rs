//! The first process of the Linux device's own world: a network of its own, a `/run` of its own.
//!
//! It brings the loopback interface up, lays the inner ends of the wires, runs the daemon and starts it
//! again as a service manager would, and takes in the processes whose parents have ended.
//! When whoever started it goes away, it ends, and with it everything in its world.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::mount::MountFlags;
use rustix::process::WaitOptions;

use super::stage::failed;
use super::wires;
use crate::failure::Failure;

/// How long the daemon is left alone after it ended.
const RESTART: Duration = Duration::from_secs(1);

/// The Linux device of the demo.
#[derive(Debug, Args)]
pub(crate) struct Inside {
    /// Where its files and its wires are.
    #[arg(long)]
    folder: PathBuf,
    /// Where it believes the server to be.
    #[arg(long)]
    https: SocketAddr,
    /// Where it believes the hub to be.
    #[arg(long)]
    hub: SocketAddr,
}

/// Never returns before it is told to end.
pub(crate) fn run(inside: &Inside) -> Result<(), Failure> {
    end_with_the_caller();
    lightshipd::engine::runtime::bring_up_loopback()
        .map_err(|error| failed("bringing lo up", &error))?;
    rustix::mount::mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None)
        .map_err(|error| failed("mounting /run", &error))?;
    lay_wires(inside)?;
    loop {
        let daemon = start(&inside.folder)?;
        while reap() != Some(daemon) {}
        std::thread::sleep(RESTART);
    }
}

/// Standard input ends when the caller does.
fn end_with_the_caller() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

fn lay_wires(inside: &Inside) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("the device's wires", &error))?;
    let (folder, https, hub) = (inside.folder.clone(), inside.https, inside.hub);
    std::thread::spawn(move || {
        if let Err(error) = runtime.block_on(wires::inside(&folder, https, hub)) {
            eprintln!("the device's wires: {error}");
            std::process::exit(1);
        }
    });
    Ok(())
}

/// Starts the daemon; its log goes on where it was.
fn start(folder: &Path) -> Result<u32, Failure> {
    let path = folder.join("log");
    let mut options = std::fs::OpenOptions::new();
    let log = options.create(true).append(true).open(&path);
    let log = log.map_err(|error| Failure::file(&path, &error))?;
    let starting = |error| failed("starting the daemon", &error);
    let program = std::env::current_exe().map_err(starting)?;
    let mut daemon = Command::new(program);
    daemon
        .args(["demo-daemon", "--config"])
        .arg(folder.join("device.toml"));
    let daemon = daemon
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(daemon.spawn().map_err(starting)?.id())
}

/// The daemon, as `lightshipd run` runs it.
pub(crate) fn run_daemon(config: &Path) -> Result<(), Failure> {
    crate::command::serve::log();
    let config = lightshipd::daemon::Config::load(config)
        .map_err(|error| failed("the device's configuration", &error))?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| failed("the daemon", &error))?;
    let tasks = tokio::task::LocalSet::new();
    let end = tasks.block_on(&runtime, lightshipd::daemon::run(config));
    end.map(drop).map_err(|error| failed("the daemon", &error))
}

/// Waits until a process of this world has ended; which.
fn reap() -> Option<u32> {
    let (pid, _) = rustix::process::wait(WaitOptions::empty()).ok()??;
    u32::try_from(pid.as_raw_nonzero().get()).ok()
}
