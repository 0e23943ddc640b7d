//! Crates that decide take time, chance and files as arguments, so nothing in them reaches for these.

use crate::tree::{rust_files, shipped_lines, test_only_files};

/// Folders of crates that decide, and so do nothing else.
const PURE: &[&str] = &[
    "core",
    "platforms/image",
    "platforms/spec",
    "fleet/director",
];

/// A clock, a random source, the environment, a file, a socket, a thread.
const OUTSIDE_WORLD: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "OsRng",
    "SysRng",
    "thread_rng",
    "getrandom",
    "rand::rng(",
    "rand::random",
    "HashMap::new",
    "std::env",
    "std::fs",
    "std::io",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "std::process",
    "std::thread",
    "tokio::",
];

/// What a device without an allocator and an operating system lacks.
const MORE_THAN_CORE: &[&str] = &[
    "std::",
    "alloc::",
    "extern crate std",
    "extern crate alloc",
    "unsafe ",
];

#[test]
fn crates_that_decide_touch_nothing_outside() {
    let mut wrong = Vec::new();
    for folder in PURE {
        wrong.extend(mentions(folder, OUTSIDE_WORLD));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_uses_neither_std_nor_an_allocator_nor_unsafe_code() {
    let wrong = mentions("core", MORE_THAN_CORE);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let root = rust_files()
        .into_iter()
        .find(|file| file.path == "core/src/lib.rs");
    let root = root.expect("the core has a root").text;
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(
            root.lines().any(|line| line == attribute),
            "the core lacks {attribute}"
        );
    }
}

/// Every mention of one of `words` in the shipped code below `folder`, comments apart.
fn mentions(folder: &str, words: &[&str]) -> Vec<String> {
    let files = rust_files();
    let test_only = test_only_files(&files);
    let inside = format!("{folder}/src/");
    let mut found = Vec::new();
    for file in &files {
        if !file.path.starts_with(&inside) || test_only.contains(&file.path) {
            continue;
        }
        for (number, line) in shipped_lines(&file.text) {
            let code = line.split("//").next().unwrap_or(line);
            for word in words.iter().filter(|word| code.contains(**word)) {
                found.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    found
}
