//! A test in namespaces of its own, where no engine of this machine is touched and nothing is left.

use std::process::Command;

use crate::daemon::Kind;

/// Set in the process that runs within the namespaces.
const INSIDE: &str = "LIGHTSHIP_INSIDE_NAMESPACE";

/// Runs `story` as the test of this name, in another process of this program; or says why it cannot.
pub(crate) fn apart(test: &str, kind: Kind, story: impl FnOnce()) {
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
        story();
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
