//! A device: the daemon as a process of its own, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::shore::Shore;

/// The daemon, where cargo has put it beside this test.
pub(crate) fn program() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let program = here.parent()?.parent()?.join("lightshipd");
    program.exists().then_some(program)
}

/// Ends a process at once.
pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
}

pub(crate) struct Device {
    program: PathBuf,
    folder: TempDir,
    child: Option<Child>,
}

impl Device {
    /// A device with these lines in its configuration too.
    pub(crate) async fn new(program: PathBuf, shore: &Shore, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let lines = format!(
            "data = \"{}\"\nrun = \"{}\"\n{lines}",
            at.join("data").display(),
            at.join("run").display(),
        );
        let text = Self::settings(shore, &lines).await;
        fs::write(at.join("device.toml"), text).unwrap();
        Self {
            program,
            folder,
            child: None,
        }
    }

    /// What a device of this fleet has in its configuration, and these lines.
    pub(crate) async fn settings(shore: &Shore, lines: &str) -> String {
        format!(
            "device_type = \"board\"\nproduct = \"harbour\"\nserver = \"{}\"\nauthority = \"\"\"\n{}\"\"\"\nroot = \"{}\"\nprovisioning_key = \"{}\"\n{lines}\n",
            shore.url(),
            shore.authority(),
            STANDARD.encode(shore.root_document()),
            shore.provisioning_key().await,
        )
    }

    /// Whether the store holds this document.
    pub(crate) fn holds(&self, digest: &lightship_core::id::Digest) -> bool {
        let blobs = fs::read_dir(self.path("data/engine/blobs"))
            .unwrap()
            .flatten();
        let name = digest.to_string();
        blobs
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().contains(&name))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn configuration(&self) -> String {
        fs::read_to_string(self.path("device.toml")).unwrap()
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// With these variables in its environment, as a service manager sets them.
    pub(crate) fn start_with(&mut self, variables: &[(&str, &str)]) {
        let mut options = fs::OpenOptions::new();
        let log = options
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--config"])
            .arg(self.path("device.toml"))
            .envs(variables.iter().copied());
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    /// Ends the daemon alone, at once, and starts it again.
    pub(crate) fn restart(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.start();
    }

    /// Asks the daemon to end, as a service manager does.
    #[allow(dead_code, reason = "a benchmark ends otherwise")]
    pub(crate) fn terminate(&self) {
        let daemon = i32::try_from(self.daemon()).unwrap();
        let daemon = rustix::process::Pid::from_raw(daemon).unwrap();
        rustix::process::kill_process(daemon, rustix::process::Signal::TERM).unwrap();
    }

    /// How the daemon ended, once it has.
    #[allow(dead_code, reason = "a benchmark ends otherwise")]
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// Whether a process of a container of this device has this command line.
    pub(crate) fn runs(&self, words: &str) -> bool {
        self.shims().iter().any(|shim| {
            children(*shim)
                .iter()
                .any(|child| command_line(*child).contains(words))
        })
    }

    /// A command of the daemon's program: its output, and how it ended.
    pub(crate) async fn ask(&self, words: &[&str]) -> (String, Option<i32>) {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .arg("--config")
            .arg(self.path("device.toml"));
        // The shore answers meanwhile.
        let ended = tokio::task::spawn_blocking(move || command.output());
        let output = ended.await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text, output.status.code())
    }

    /// The daemon's process.
    #[allow(dead_code, reason = "a benchmark weighs it")]
    pub(crate) fn daemon(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The first process whose command line holds these words, of those in containers of this device.
    pub(crate) fn process(&self, words: &str) -> Option<u32> {
        let all = self.shims().into_iter().flat_map(children);
        let mut all = all.filter(|pid| command_line(*pid).contains(words));
        all.next()
    }

    /// The shims of this device: they name its folder.
    pub(crate) fn shims(&self) -> Vec<u32> {
        let folder = self.folder.path().display().to_string();
        processes()
            .filter(|pid| {
                let line = command_line(*pid);
                line.contains(" shim ") && line.contains(&folder)
            })
            .collect()
    }

    /// Kills the daemon alone; its containers run on.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As a loss of power: nothing is asked first.
    pub(crate) fn kill_with_containers(&mut self) {
        self.kill();
        for shim in self.shims() {
            for pid in children(shim).into_iter().chain([shim]) {
                let pid = i32::try_from(pid)
                    .ok()
                    .and_then(rustix::process::Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill_with_containers();
    }
}

pub(crate) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub(crate) fn command_line(pid: u32) -> String {
    let bytes = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
    let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
    text.replace('\0', " ")
}

/// All descendants.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let mut found: Vec<u32> = processes().filter(|pid| parent(*pid) == Some(of)).collect();
    for child in found.clone() {
        found.extend(children(child));
    }
    found
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
