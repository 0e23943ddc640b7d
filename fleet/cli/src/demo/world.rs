//! The Linux device, as the demo sees it: a process in namespaces of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stage::{Stage, failed};
use super::wires::{Meter, Outside};
use crate::failure::Failure;

/// How long the device may take to end.
const GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// Which namespaces a device can have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum World {
    /// Those that root makes.
    Root,
    /// Those within a user namespace.
    User,
}

impl World {
    /// What this machine and this user allow.
    ///
    /// # Errors
    ///
    /// Why there is no way, in words.
    pub(super) fn find() -> Result<Self, String> {
        let root = rustix::process::geteuid().is_root();
        let world = if root { Self::Root } else { Self::User };
        let tried = world.command("true").output();
        match tried {
            Ok(output) if output.status.success() => Ok(world),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(format!("namespaces cannot be made here ({said})"))
            }
            Err(error) => Err(format!("`unshare` of util-linux is needed ({error})")),
        }
    }

    /// `program` in a world of its own; it dies when this process does.
    fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("unshare");
        if self == Self::User {
            command.args(["--user", "--map-root-user"]);
        }
        command.args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ]);
        command.arg(program);
        command
    }
}

/// The running device; dropped, it and all that it runs is gone.
pub(super) struct LinuxDevice {
    process: Child,
    wires: tokio::task::JoinHandle<()>,
    /// What its wires have carried.
    pub(super) meter: Meter,
}

/// Where the server is, and where the hub is announced and where it really is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) https: SocketAddr,
    pub(super) announced_hub: SocketAddr,
    pub(super) hub: SocketAddr,
}

impl LinuxDevice {
    /// Starts the device whose configuration is `linux/device.toml`.
    pub(super) fn start(world: World, stage: &Stage, places: Places) -> Result<Self, Failure> {
        let folder = stage.path("linux");
        let starting = |error: std::io::Error| failed("starting the Linux device", &error);
        let outside = Outside::open(&folder).map_err(starting)?;
        let meter = Meter::default();
        let wires = tokio::spawn(outside.carry(places.https, places.hub, meter.clone()));
        let program = std::env::current_exe().map_err(starting)?;
        let log = std::fs::File::create(folder.join("world.log")).map_err(starting)?;
        let mut command = world.command(program);
        command.args(["demo-device", "--folder"]).arg(&folder);
        command.args(["--https", &places.https.to_string()]);
        command.args(["--hub", &places.announced_hub.to_string()]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        let process = command.spawn().map_err(starting)?;
        Ok(Self {
            process,
            wires,
            meter,
        })
    }
}

impl Drop for LinuxDevice {
    fn drop(&mut self) {
        self.wires.abort();
        // The end of its standard input ends the first process inside, and the kernel ends all others before that one is gone.
        drop(self.process.stdin.take());
        let end = Instant::now() + GRACE;
        while Instant::now() < end && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The last lines of what a device said, for when something goes wrong.
pub(crate) fn last_lines(path: &Path) -> String {
    const LINES: usize = 12;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
