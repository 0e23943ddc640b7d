//! What the core brings along onto a device: a new dependency is a visible change.

use std::process::Command;

use expect_test::expect_file;

use crate::tree::root;

#[test]
fn the_core_brings_only_what_is_written_down() {
    let output = Command::new("cargo")
        .args([
            "tree",
            "--locked",
            "--package",
            "lightship-core",
            "--edges",
            "normal",
        ])
        .args(["--target", "thumbv7m-none-eabi", "--charset", "ascii"])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // Our own crate is shown with the folder it stands in, which differs from machine to machine.
    let tree: String = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.split_once(" (/").map_or(line, |(package, _)| package))
        .flat_map(|line| [line, "\n"])
        .collect();
    expect_file!["core-tree.txt"].assert_eq(&tree);
}
