//! The program's command line.

use std::process::{Command, Stdio};

/// As `lightshipd help | head -1`, when `head` has ended before anything is printed.
#[test]
fn what_nobody_reads_any_more_is_no_failure() {
    for words in [&["help"][..], &["doctor", "--json", "--config", "/absent"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightshipd"));
        let command = command.args(words).stdout(writer).stderr(Stdio::piped());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{words:?}: {said}");
        assert_eq!(
            output.status.code(),
            Some(i32::from(words.len() > 1)),
            "{said}"
        );
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightshipd"));
    let output = command
        .args(["check", "--config", "/absent"])
        .stderr(writer)
        .output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}
