//! The Docker engine before a real Docker and a real podman.
//!
//! Each test runs in a network namespace of its own, with an engine of its own on folders of its own, so
//! nothing of the machine's engines is touched and nothing is left.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod daemon;
mod registry;
mod scenario;

use std::process::Command;

use daemon::Kind;

/// Set in the process that runs within the namespace.
const INSIDE: &str = "LIGHTSHIP_INSIDE_NAMESPACE";

#[test]
fn docker_runs_what_a_spec_says() {
    within_a_namespace("docker_runs_what_a_spec_says", Kind::Docker);
}

#[test]
fn podman_runs_what_a_spec_says() {
    within_a_namespace("podman_runs_what_a_spec_says", Kind::Podman);
}

fn within_a_namespace(test: &str, kind: Kind) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .unwrap();
        assert!(up.success());
        // Podman keeps state there whatever the folders that it is given: its name server, its locks (which
        // a second podman of this machine would free under its feet) and its network namespaces.
        for folder in ["/run/containers", "/dev/shm", "/run/netns"] {
            std::fs::create_dir_all(folder).unwrap();
            let own = ["-t", "tmpfs", "tmpfs", folder];
            assert!(Command::new("mount").args(own).status().unwrap().success());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(scenario::run(kind));
        return;
    }
    if let Some(why) = kind.missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let inside = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(this)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = shown(&inside.stdout) + &shown(&inside.stderr);
    assert!(inside.status.success(), "{said}");
    for line in said.lines().filter(|line| line.starts_with("SKIPPED")) {
        eprintln!("{line}");
    }
}
