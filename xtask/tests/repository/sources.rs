//! Names, sizes and habits of the sources.

use crate::tree::{File, files, rust_files, shipped_lines, test_only_files};

/// Words that say nothing about what is inside.
const SAY_NOTHING: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "manager", "misc",
];

/// Lines of a file that ship; a file that wants more is a missing concept.
const LINES: usize = 500;

#[test]
fn no_module_is_named_after_nothing() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let parts = file.path.trim_end_matches(".rs").split('/');
        if parts.clone().any(|part| SAY_NOTHING.contains(&part)) {
            wrong.push(file.path.clone());
        }
        for line in file.text.lines() {
            let words: Vec<&str> = line.trim().split([' ', ';', '{']).collect();
            let is_module = words
                .windows(2)
                .any(|pair| pair[0] == "mod" && SAY_NOTHING.contains(&pair[1]));
            if is_module && !line.trim_start().starts_with("//") {
                wrong.push(format!("{}: {}", file.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "name the concern:\n{}", wrong.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_a_reader_can_hold() {
    let files = rust_files();
    let test_only = test_only_files(&files);
    let wrong: Vec<String> = files
        .iter()
        .filter(|file| file.path.contains("src/") && !test_only.contains(&file.path))
        .map(|file| (shipped_lines(&file.text).len(), &file.path))
        .filter(|(lines, _)| *lines > LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines, at most {LINES} may be"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_test_is_ignored() {
    let is_ignored = |line: &str| {
        let line = line.trim_start();
        let fence = line.trim_start_matches(['/', '!', ' ']);
        let is_fence = fence.starts_with("```") && fence.contains("ignore");
        line.starts_with("#[ignore") || is_fence
    };
    let sources = files(|path| path.ends_with(".rs") || path.ends_with(".md"));
    let wrong = lines_that(&sources, is_ignored);
    assert!(
        wrong.is_empty(),
        "skip with a reason instead:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    // Put together here, so that this file does not name them either.
    let path = |name: &str| format!("/{name}/");
    let anywhere = ["work", "home", "root"].map(path);
    // Rust code also speaks of what is inside containers, where this one is the same for everybody.
    let in_text = [path("tmp")];
    let mut wrong = Vec::new();
    for (folders, is_looked_at) in [
        (&anywhere[..], (|_| true) as fn(&str) -> bool),
        (&in_text[..], |path| !path.ends_with(".rs")),
    ] {
        let files = files(|path| !path.starts_with("LICENSE") && is_looked_at(path));
        wrong.extend(lines_that(&files, |line| names_one(line, folders)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a path in the line begins with one of the folders; `target/tmp/x` does not.
fn names_one(line: &str, folders: &[String]) -> bool {
    folders.iter().any(|folder| {
        let mut places = line.match_indices(folder.as_str());
        places.any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|letter| letter.is_alphanumeric() || "._-})>".contains(letter))
        })
    })
}

fn lines_that(files: &[File], is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            if is_wrong(line) {
                wrong.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    wrong
}
