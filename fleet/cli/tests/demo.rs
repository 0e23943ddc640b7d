//! `lightship demo`, as a stranger runs it: the whole story, and nothing left behind.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The user and the group that own nothing.
const NOBODY: u32 = 65_534;

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightship"));
    command.args(["demo", "--once", "--json"]);
    command.env("TMPDIR", folder).stdin(Stdio::null());
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// Cgroups of demos that are kept in this folder: they are called as the folders are.
fn cgroups(process: u32) -> Vec<std::path::PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = std::fs::read_dir(root).into_iter().flatten().flatten();
    let places = controllers
        .map(|entry| entry.path())
        .chain([root.to_owned()]);
    let named = places.map(|place| place.join(format!("lightship-demo-{process}")));
    named.filter(|group| group.exists()).collect()
}

/// Processes that have the folder in their command line.
fn processes(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap().as_bytes();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| line.windows(folder.len()).any(|part| part == folder))
        .count()
}

/// Two at once, as on a machine that two people share; where the test may choose, one of them is not root.
#[test]
fn every_step_comes_out_as_stated_and_nothing_is_left() {
    std::thread::scope(|scope| {
        let told = [false, true].map(|as_nobody| scope.spawn(move || tell_once(as_nobody)));
        told.into_iter().for_each(|one| one.join().unwrap());
    });
}

/// The program where nobody can start it, and as nobody.
fn demo_of_nobody(place: &Path, folder: &Path) -> Command {
    let program = place.join("lightship");
    std::fs::copy(env!("CARGO_BIN_EXE_lightship"), &program).unwrap();
    std::fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new(program);
    command.args(["demo", "--once", "--json"]);
    command.env("TMPDIR", folder).env("HOME", folder);
    command.current_dir(folder).stdin(Stdio::null());
    command.uid(NOBODY).gid(NOBODY);
    command
}

fn tell_once(as_nobody: bool) {
    let place = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir_in(place.path()).unwrap();
    let mut command = if as_nobody && rustix::process::geteuid().is_root() {
        demo_of_nobody(place.path(), folder.path())
    } else {
        demo(folder.path())
    };
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let output = child.wait_with_output().unwrap();
    let (said, errors) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(output.status.success(), "{errors}\n{report:#}");
    assert_eq!(report["ok"], true);
    let events = report["events"].as_array().unwrap();
    let tells = |device: &str, what: &str| {
        let found = events.iter().any(|event| {
            event["device"] == device && event["what"].as_str().unwrap().contains(what)
        });
        assert!(found, "{device}: no {what}: {report:#}");
    };
    for what in [
        "loses power after",
        "is back, and goes on at byte",
        "rejected",
        "committed",
    ] {
        tells("buoy", what);
    }
    let left_out = report["left_out"].as_array().unwrap();
    if left_out
        .iter()
        .any(|what| what.as_str().unwrap().contains("Linux device"))
    {
        eprintln!("SKIPPED: the demo's Linux device: {}", report["left_out"]);
    } else {
        for what in [
            "serves the page of 1.0.0",
            "serves the page of 1.1.0",
            "rejected",
            "serves the page of 1.3.0",
        ] {
            tells("gate", what);
        }
        assert_eq!(report["devices"].as_array().unwrap().len(), 2);
    }
    let bytes = |what: &str| report["bytes"][what].as_u64().unwrap();
    assert!(bytes("update") < bytes("first_release"));
    assert!(is_empty(folder.path()), "files are left");
    assert_eq!(cgroups(process), Vec::<std::path::PathBuf>::new());
    assert_eq!(processes(folder.path()), 0);
}

#[test]
fn a_demo_that_is_killed_takes_its_devices_with_it_and_the_next_one_clears_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightship"));
    command
        .args(["demo", "--once"])
        .env("TMPDIR", folder.path());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let pushed = lines
        .map_while(Result::ok)
        .any(|line| line.contains("$ lightship push"));
    assert!(pushed, "it ended before it pushed anything");
    child.kill().unwrap();
    child.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while processes(folder.path()) > 0 {
        assert!(Instant::now() < end, "processes live on");
        std::thread::yield_now();
    }
    assert!(
        !is_empty(folder.path()),
        "a killed process cannot have cleared away"
    );
    // The next one does, whatever becomes of it.
    let mut next = demo(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let left = format!("lightship-demo-{}", child.id());
    while folder.path().join(&left).exists() {
        assert!(
            Instant::now() < end + Duration::from_secs(20),
            "it is still there"
        );
        std::thread::yield_now();
    }
    assert_eq!(cgroups(child.id()), Vec::<std::path::PathBuf>::new());
    next.kill().unwrap();
    next.wait().unwrap();
}

/// What a demo that cannot begin says to people, with a command put before it.
fn refused(before: &str, folder: &Path) -> String {
    let script = format!("{before} && exec \"$0\" demo --once");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    command.arg(env!("CARGO_BIN_EXE_lightship"));
    command.env("TMPDIR", folder).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn no_room_and_no_permission_are_told_in_a_sentence_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: a full disk: mounting one needs root");
        return;
    }
    for (before, why) in [
        (
            "mount -t tmpfs -o size=8k none \"$TMPDIR\"",
            "only 0 MB are free",
        ),
        (
            "mount -t tmpfs -o ro none \"$TMPDIR\"",
            "Read-only file system",
        ),
    ] {
        let said = refused(before, folder.path());
        assert!(
            said.contains(why) && said.contains("TMPDIR names another place"),
            "{said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
    let there_is_none = folder.path().join("none");
    let said = refused("true", &there_is_none);
    assert!(said.contains("TMPDIR names another place"), "{said}");
    assert!(is_empty(folder.path()));
}
