//! Our programs as people install them: Debian packages on a machine whose first process is systemd.

mod machine;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::device::Device;
use crate::registry::own_architecture;
use crate::shore::Shore;
use crate::stage::tell;
use machine::Machine;

/// Packs a program of that folder.
fn pack(package: &str, from: &Path, into: &Path, version: &str) -> PathBuf {
    let packer = crate::device::program().unwrap().with_file_name("xtask");
    let architecture = own_architecture();
    let ended = Command::new(packer)
        .args(["dist", "--version", version])
        .arg("--from")
        .arg(from)
        .arg("--into")
        .arg(into)
        .args([architecture, package])
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    into.join(format!("{package}_{version}_{architecture}.deb"))
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
        let built = program.parent().unwrap();
        let pack = |version| pack("lightshipd", built, packages.path(), version);
        let (first, second) = (pack("1.0.0"), pack("1.1.0"));
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
    machine.install(&[first]);
    assert_eq!(machine.service("lightshipd"), 0);
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
    let daemon = machine.service("lightshipd");

    machine.install(&[second]);
    assert_ne!(machine.service("lightshipd"), daemon);
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
