//! Targets of our own are the compiler's, but for what they are made for.

use std::process::Command;

use serde_json::Value;

use crate::tree::files;

/// A change of toolchain must not leave an old description behind, which would be built without a word.
#[test]
fn boards_targets_are_the_compilers_own_but_for_frame_pointers() {
    let targets = files(|path| path.contains("/.cargo/") && path.ends_with(".json"));
    assert!(!targets.is_empty(), "the boards have some");
    for file in targets {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let name = name.trim_end_matches(".json");
        let output = Command::new("rustc")
            .args(["-Zunstable-options", "--print", "target-spec-json"])
            .args(["--target", name])
            .env("RUSTC_BOOTSTRAP", "1")
            .output()
            .unwrap();
        let mut own: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours: Value = serde_json::from_str(&file.text).unwrap();
        own["frame-pointer"] = "may-omit".into();
        assert_eq!(
            ours, own,
            "{}: make it anew, as `smallest.toml` beside it says",
            file.path
        );
    }
}
