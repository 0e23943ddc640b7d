//! A machine whose first process is systemd, to install packages on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::device;
use crate::mounts::{mount, own_mounts};
use crate::stage::{PATIENCE_S, patiently};

/// A container with a systemd of its own, over this machine's files; it is gone with its process.
pub(super) struct Machine {
    child: Child,
    /// Its first process.
    first: u32,
    folder: TempDir,
}

/// What it may do more than such a container usually may: the daemon makes containers in it.
const RIGHTS: &[&str] = &[
    "--capability=all",
    "--system-call-filter=@mount @privileged @raw-io bpf keyctl",
];

impl Machine {
    pub(super) fn boot() -> Self {
        own_mounts();
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        // What lies over this machine's files is in memory: layers of layers on a disk are not allowed everywhere.
        mount(&["-t", "tmpfs", "tmpfs", &at]);
        for name in ["upper", "work", "root", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let layers = format!("lowerdir=/,upperdir={at}/upper,workdir={at}/work");
        let root = format!("{at}/root");
        mount(&["-t", "overlay", "overlay", "-o", &layers, &root]);
        let configuration = folder.path().join("root/etc/lightship");
        fs::create_dir_all(configuration).unwrap();
        // It is another machine than this one.
        let name = format!("{:032x}\n", std::process::id());
        fs::write(folder.path().join("root/etc/machine-id"), name).unwrap();
        // Services of this machine are not started in it: the target below wants none of them.
        let target = folder.path().join("root/etc/systemd/system/alone.target");
        fs::write(target, "[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n").unwrap();
        let child = Command::new("systemd-nspawn")
            .args(["--quiet", "--register=no", "--keep-unit"])
            .args(RIGHTS)
            .arg(format!("--directory={root}"))
            .arg(format!("--bind={at}/state:/var/lib/lightship"))
            .args(["--boot", "systemd.unit=alone.target"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut machine = Self {
            child,
            first: 0,
            folder,
        };
        machine.await_boot();
        machine.open_cgroups();
        machine
    }

    fn await_boot(&mut self) {
        wait("systemd in its container", || {
            let children = device::processes().filter(|pid| {
                device::parent(*pid) == Some(self.child.id())
                    && device::command_line(*pid).contains("alone.target")
            });
            self.first = children.last().unwrap_or(0);
            self.first != 0
        });
        wait("the boot of systemd", || {
            self.run(&["systemctl", "is-active", "--quiet", "alone.target"])
                .is_some()
        });
    }

    /// Version 1 control groups are read-only in such a container, which they are not on a device.
    fn open_cgroups(&self) {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", self.first)).unwrap();
        let groups = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|path| path.starts_with("/sys/fs/cgroup"));
        for path in groups {
            self.must(&["mount", "-o", "remount,rw,bind", path]);
        }
    }

    /// A command in it: what it printed, if it ended well.
    pub(super) fn run(&self, words: &[&str]) -> Option<String> {
        let output = self.enter(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    pub(super) fn must(&self, words: &[&str]) -> String {
        let output = self.enter(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn enter(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string()])
            .args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"])
            .arg("--")
            .args(words);
        command
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    /// Installs packages or upgrades to them.
    pub(super) fn install(&self, packages: &[&Path]) {
        let mut words = vec!["dpkg".to_owned(), "--install".to_owned()];
        for package in packages {
            let name = package.file_name().unwrap().to_str().unwrap();
            fs::copy(package, self.path(name)).unwrap();
            words.push(format!("/{name}"));
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.must(&words);
    }

    /// The first process of a service as the machine counts processes; 0 if none runs.
    pub(super) fn service(&self, unit: &str) -> u32 {
        let shown = self.must(&["systemctl", "show", "--value", "--property=MainPID", unit]);
        shown.trim().parse().unwrap()
    }

    /// The processes in it with this whole command line.
    pub(super) fn processes(&self, words: &str) -> Vec<u32> {
        let all = device::children(self.first).into_iter();
        all.filter(|pid| device::command_line(*pid).trim() == words)
            .collect()
    }

    /// What services said.
    pub(super) fn journal(&self) -> String {
        let journal = ["journalctl", "--no-pager", "--unit=lightship*"];
        self.run(&journal).unwrap_or_default()
    }

    pub(super) async fn until(&self, what: &str, look: impl AsyncFnMut() -> bool) {
        patiently(what, || self.journal(), look).await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its first process all of its processes end.
        if self.first != 0 {
            device::kill(self.first);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        crate::mounts::unmount(&self.folder.path().join("root"));
        crate::mounts::unmount(self.folder.path());
    }
}

fn wait(what: &str, mut look: impl FnMut() -> bool) {
    for _ in 0..PATIENCE_S * 20 {
        if look() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} does not come about");
}
