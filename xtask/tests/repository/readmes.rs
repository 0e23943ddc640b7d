//! A crate's README is its documentation, so that its examples are compiled and cannot go stale.

use cargo_metadata::{MetadataCommand, TargetKind};

use crate::tree::root;

/// A crate whose root has fewer lines than this holds nothing yet.
const EMPTY_BELOW_LINES: usize = 6;

#[test]
fn the_readme_of_a_crate_is_its_documentation() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo reads our own manifests");
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let mut targets = package.targets.iter();
        let library = targets.clone().find(|target| target.is_lib());
        let program = targets.find(|target| target.kind.contains(&TargetKind::Bin));
        let Some(target) = library.or(program) else {
            continue;
        };
        let source = std::fs::read_to_string(&target.src_path).expect("a crate's root is readable");
        if source.lines().count() < EMPTY_BELOW_LINES {
            continue;
        }
        if !source.contains("include_str!(\"../README.md\")") {
            wrong.push(format!(
                "{} does not include ../README.md as its documentation",
                target.src_path
            ));
        }
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest has a folder");
        if !folder.join("README.md").is_file() {
            wrong.push(format!("{folder} has no README.md"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
