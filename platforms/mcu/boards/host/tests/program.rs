//! The program, as a person runs it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightship-board-host"));
    command.args(words).output().unwrap()
}

fn complaint(words: &[&str]) -> String {
    let output = run(words);
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_image_says_what_it_is_and_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("key"), [7; 32]).unwrap();
    for out in ["one", "two"] {
        let (key, out) = (path("key"), path(out));
        let words = ["image", "--device-type", "pump", "--version", "1.2.3"];
        let more = ["--key", &key, "--out", &out, "--size", "5000"];
        let output = run(&[&words[..], &more[..]].concat());
        assert!(output.status.success(), "{output:?}");
    }
    let image = std::fs::read(path("one")).unwrap();
    assert_eq!(image.len(), 5000);
    assert_eq!(image, std::fs::read(path("two")).unwrap());
    let signed = image.first_chunk().unwrap();
    let header = lightship_image::Header::decode(signed).unwrap();
    assert_eq!(header.version.to_string(), "1.2.3");
    assert_eq!(header.device_type.as_str(), "pump");
}

#[test]
fn what_is_wrong_is_said_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("flash"), [0xFF; 4096]).unwrap();
    std::fs::write(path("other"), b"something else").unwrap();
    let (flash, other, none) = (path("flash"), path("other"), path("none"));
    assert!(complaint(&[]).contains("usage"));
    assert!(complaint(&["fly"]).contains("usage"));
    assert!(complaint(&["run"]).contains("--flash is missing"));
    assert!(complaint(&["run", "--flash", &none]).contains("cannot be opened"));
    assert!(complaint(&["run", "--flash", &flash]).contains("make it with `install`"));
    assert!(
        complaint(&["run", "--flash", &flash, "--fast"]).contains("`--fast` is not understood")
    );
    let install = ["install", "--flash", &flash, "--image", &other, "--config"];
    let said = complaint(&[&install[..], &[&other]].concat());
    assert!(said.contains("configuration is damaged"), "{said}");
    let said = complaint(&[&install[..], &[&flash]].concat());
    assert!(
        said.contains("lightship config --format firmware"),
        "{said}"
    );
}
