//! The daemon as people install it: a Debian package on a machine whose first process is systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::device::{self, Device};
use crate::mounts::{mount, own_mounts};
use crate::registry::own_architecture;
use crate::shore::Shore;
use crate::stage::{PATIENCE_S, patiently, tell};

/// A container with a systemd of its own, over this machine's files; it is gone with its process.
struct Machine {
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
    fn boot() -> Self {
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
    fn run(&self, words: &[&str]) -> Option<String> {
        let output = self.enter(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    fn must(&self, words: &[&str]) -> String {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    /// Installs a package or upgrades to it.
    fn install(&self, package: &Path) {
        fs::copy(package, self.path("package.deb")).unwrap();
        self.must(&["dpkg", "--install", "/package.deb"]);
    }

    /// The daemon's process as the machine counts processes; 0 if none runs.
    fn daemon(&self) -> u32 {
        let shown = self.must(&[
            "systemctl",
            "show",
            "--value",
            "--property=MainPID",
            "lightshipd",
        ]);
        shown.trim().parse().unwrap()
    }

    /// The processes in it with this whole command line.
    fn processes(&self, words: &str) -> Vec<u32> {
        let all = device::children(self.first).into_iter();
        all.filter(|pid| device::command_line(*pid).trim() == words)
            .collect()
    }

    fn said(&self) -> String {
        let journal = ["journalctl", "--no-pager", "--unit=lightshipd"];
        self.run(&journal).unwrap_or_default()
    }

    async fn until(&self, what: &str, look: impl AsyncFnMut() -> bool) {
        patiently(what, || self.said(), look).await;
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

/// Packs the daemon that cargo has put beside this test.
fn pack(program: &Path, into: &Path, version: &str) -> PathBuf {
    let folder = program.parent().unwrap();
    let architecture = own_architecture();
    let ended = Command::new(folder.join("xtask"))
        .args(["dist", "--version", version])
        .arg("--from")
        .arg(folder)
        .arg("--into")
        .arg(into)
        .args([architecture, "lightshipd"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}");
    into.join(format!("lightshipd_{version}_{architecture}.deb"))
}

fn missing(program: &Path) -> Option<String> {
    for tool in ["systemd-nspawn", "nsenter", "dpkg"] {
        let found = ["/usr/bin", "/bin", "/usr/sbin"];
        let found = found.iter().any(|path| Path::new(path).join(tool).exists());
        if !found {
            return Some(format!("{tool} is not installed"));
        }
    }
    let packer = program.parent()?.join("xtask");
    (!packer.exists()).then(|| "xtask is not built; `cargo test --workspace` builds it".to_owned())
}

#[test]
fn an_upgrade_of_the_package_keeps_containers_running_and_the_new_daemon_looks_after_them() {
    tell(async |program| {
        if let Some(why) = missing(&program) {
            eprintln!("SKIPPED: {why}");
            return;
        }
        let packages = tempfile::tempdir().unwrap();
        let first = pack(&program, packages.path(), "1.0.0");
        let second = pack(&program, packages.path(), "1.1.0");
        let shore = Shore::start().await;
        let machine = Machine::boot();
        install_and_upgrade(&shore, &machine, &first, &second).await;

        // Removed, the daemon is gone; what it started runs on, and its state and configuration stay.
        machine.must(&["dpkg", "--remove", "lightshipd"]);
        assert_eq!(machine.processes("/bin/busybox sleep 1002").len(), 1);
        assert!(machine.run(&["lightshipd", "status"]).is_none());
        assert!(machine.path("etc/lightship/device.toml").exists());
        assert!(
            machine
                .run(&["test", "-e", "/var/lib/lightship/engine"])
                .is_some()
        );
    });
}

async fn install_and_upgrade(shore: &Shore, machine: &Machine, first: &Path, second: &Path) {
    // Installed but not configured is no failure.
    machine.install(first);
    assert_eq!(machine.daemon(), 0);
    let settings = Device::settings(shore, "tunnel = \"in-process\"").await;
    fs::write(machine.path("etc/lightship/device.toml"), settings).unwrap();
    machine.must(&["systemctl", "start", "lightshipd"]);
    machine
        .until("the registration", async || shore.is_online().await)
        .await;

    let release = shore
        .push("1.0.0", &["/bin/busybox", "sleep", "1001"])
        .await;
    machine
        .until("the first release", async || shore.shows(&release).await)
        .await;
    let container = machine.processes("/bin/busybox sleep 1001");
    assert_eq!(container.len(), 1);
    let daemon = machine.daemon();

    machine.install(second);
    assert_ne!(machine.daemon(), daemon);
    machine
        .until("the way back to the fleet", async || {
            shore.is_online().await
        })
        .await;
    assert_eq!(machine.processes("/bin/busybox sleep 1001"), container);

    // The new daemon knows the container: an update ends it.
    let release = shore
        .push("2.0.0", &["/bin/busybox", "sleep", "1002"])
        .await;
    machine
        .until("the second release", async || shore.shows(&release).await)
        .await;
    assert!(machine.processes("/bin/busybox sleep 1001").is_empty());
    assert_eq!(machine.processes("/bin/busybox sleep 1002").len(), 1);
    machine.must(&["lightshipd", "status"]);
}
