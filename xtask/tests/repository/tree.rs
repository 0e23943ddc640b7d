//! The files of the repository, and which of their lines ship.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder of the root `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_owned()
}

/// A text file, by its path from the root with `/` between the parts.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file whose path satisfies `wanted`; build results and fuzz inputs are not looked at.
pub(crate) fn files(wanted: impl Fn(&str) -> bool) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder of the repository is readable");
        for entry in entries {
            let entry = entry.expect("a folder of the repository is readable");
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ".git" {
                continue;
            }
            let kind = entry.file_type().expect("the kind of a file is known");
            if kind.is_dir() {
                if !["target", "corpus", "artifacts"].contains(&name.as_str()) {
                    folders.push(entry.path());
                }
                continue;
            }
            let path = relative(&root, &entry.path());
            if kind.is_file()
                && wanted(&path)
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        !found.is_empty(),
        "the walk over the repository found nothing"
    );
    found
}

/// Every Rust source file.
pub(crate) fn rust_files() -> Vec<File> {
    files(|path| path.ends_with(".rs"))
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path
        .strip_prefix(root)
        .expect("the walk stays below the root");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// Source files that are compiled for tests alone: `#[cfg(test)] mod name;` somewhere declares them.
pub(crate) fn test_only_files(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        for module in split(&file.text).test_modules {
            let folder = match file.path.rsplit_once('/') {
                Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder.to_owned(),
                _ => file.path.trim_end_matches(".rs").to_owned(),
            };
            found.insert(format!("{folder}/{module}.rs"));
            let inside = format!("{folder}/{module}/");
            found.extend(
                files
                    .iter()
                    .filter(|file| file.path.starts_with(&inside))
                    .map(|file| file.path.clone()),
            );
        }
    }
    found
}

/// The lines of a source file that are not in a test module, with their numbers.
pub(crate) fn shipped_lines(text: &str) -> Vec<(usize, &str)> {
    split(text).shipped
}

struct Split<'a> {
    shipped: Vec<(usize, &'a str)>,
    test_modules: Vec<&'a str>,
}

fn split(text: &str) -> Split<'_> {
    let mut split = Split {
        shipped: Vec::new(),
        test_modules: Vec::new(),
    };
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            split.shipped.push((number, line));
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let next = lines.peek().map_or("", |(_, next)| next.trim());
        let Some(module) = next.split_once("mod ").map(|(_, rest)| rest) else {
            continue;
        };
        if let Some(name) = module.strip_suffix(';') {
            split.test_modules.push(name);
            lines.next();
        } else {
            let end = format!("{indent}}}");
            for (_, line) in lines.by_ref() {
                if line == end {
                    break;
                }
            }
        }
    }
    split
}

#[test]
fn test_modules_do_not_ship_and_what_follows_them_does() {
    let text = "a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod script;\nd\n";
    assert_eq!(shipped_lines(text), [(1, "a"), (6, "c"), (9, "d")]);
    assert_eq!(split(text).test_modules, ["script"]);
}
