//! A device: the host board as a process of its own, with its flash in a file.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use lightship_board_host::{Factory, install};
use lightship_mcu::config::Config;
use serde_json::Value;
use tempfile::TempDir;

/// The host board, where cargo has put it beside this test.
pub(crate) fn program() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let program = here.parent()?.parent()?.join("lightship-board-host");
    program.exists().then_some(program)
}

pub(crate) struct Device {
    program: PathBuf,
    folder: TempDir,
    child: Option<Child>,
    key: [u8; 32],
}

impl Device {
    /// A device as it comes from the factory.
    pub(crate) fn new(program: PathBuf, image: &[u8], config: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let factory = Factory { image, config };
        let entrance = Config::decode(config).unwrap().entrance.unwrap();
        install(&folder.path().join("flash"), &factory).unwrap();
        Self {
            program,
            folder,
            child: None,
            key: entrance.provisioning_key.0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether the provisioning key is anywhere in the flash.
    pub(crate) fn has_provisioning_key(&self) -> bool {
        let flash = fs::read(self.path("flash")).unwrap();
        flash.windows(32).any(|bytes| bytes == self.key)
    }

    /// The power comes back.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The power comes back, and the firmware has these options.
    pub(crate) fn start_with(&mut self, options_of_run: &[&str]) {
        let mut options = fs::OpenOptions::new();
        let options = options.create(true).append(true);
        let out = options.open(self.path("said")).unwrap();
        let errors = out.try_clone().unwrap();
        let mut command = Command::new(&self.program);
        command.args(["run", "--json", "--prefer-again", "2000", "--flash"]);
        let command = command.arg(self.path("flash")).args(options_of_run);
        let command = command.stdin(Stdio::null());
        let child = command.stdout(out).stderr(errors).spawn().unwrap();
        self.child = Some(child);
    }

    /// The power goes.
    pub(crate) fn cut(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// Everything that happened so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let said = self.said();
        let lines = said.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The events of this name.
    pub(crate) fn all(&self, event: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|other| other["event"] == event);
        events
    }
}

impl Device {
    /// Whether a note of this name, with this in its details, was made.
    pub(crate) fn noted(&self, name: &str, details: &str) -> bool {
        let is_it = |note: &Value| {
            note["note"] == name && note["details"].as_str().unwrap_or("").contains(details)
        };
        self.all("note").iter().any(is_it)
    }

    /// Processor time that the process has used, in hundredths of a second, as Linux counts it whatever else runs.
    pub(crate) fn ticks(&self) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let fields = rest.split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// How many bytes of an image were in flash when this was last said.
    pub(crate) fn fetched(&self) -> u64 {
        let last = self.all("fetched").pop().unwrap_or_default();
        last["bytes"]
            .as_str()
            .map_or(0, |bytes| bytes.parse().unwrap())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.cut();
    }
}
