//! `lightship rig`: the description of the host board, through every scenario.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn rig(words: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightship"));
    command.args(["--json", "rig"]).args(words);
    command.env("TMPDIR", folder).output().unwrap()
}

fn host() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hil-tests/rigs/host.toml")
}

#[test]
fn the_host_board_goes_through_every_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let listed = rig(&["list"], folder.path());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let ran = rig(&["run", host().to_str().unwrap()], folder.path());
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{errors}");
    let lines = String::from_utf8(ran.stdout).unwrap();
    let outcomes: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(outcomes.len(), listed.lines().count());
    assert!(outcomes.iter().all(|outcome| outcome["ok"] == true));
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn a_scenario_that_fails_is_told_with_what_the_device_said_last() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(host()).unwrap();
    // The device never says anything, because it is not one.
    let text = text.replace(
        r#"run = ["{lightship}", "demo-board", "run""#,
        r#"run = ["echo", "run""#,
    );
    let text = text.replace("device_type", "patience_s = 2\ndevice_type");
    let file = folder.path().join("rig.toml");
    std::fs::write(&file, text).unwrap();
    let ran = rig(&["run", file.to_str().unwrap()], folder.path());
    assert_eq!(ran.status.code(), Some(1));
    let outcome: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(outcome["ok"], false);
    assert!(outcome["why"].as_str().unwrap().contains("not registered"));
    let errors = String::from_utf8(ran.stderr).unwrap();
    assert!(errors.contains("--json --flash"), "{errors}");
}

#[test]
fn a_description_that_is_wrong_is_refused_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rig.toml");
    std::fs::write(&file, "name = \"x\"\nspeed = 3\n").unwrap();
    let ran = rig(&["run", file.to_str().unwrap()], folder.path());
    assert_eq!(ran.status.code(), Some(2));
    let errors = String::from_utf8(ran.stderr).unwrap();
    assert!(errors.contains("rig.toml"), "{errors}");
}
