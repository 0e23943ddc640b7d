//! Where things are, and what cargo says about them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::process;

/// The folder of the root `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_owned()
}

/// Folders of workspaces that are kept apart from the root's, because they are built for other targets.
pub(crate) fn apart(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let is_source = !["target", ".git"]
                .iter()
                .any(|name| entry.file_name() == *name);
            if is_source && entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        if folder != root && is_workspace(&folder.join("Cargo.toml")) {
            let folder = folder
                .strip_prefix(root)
                .expect("the walk stays below the root");
            found.push(folder.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

fn is_workspace(manifest: &Path) -> bool {
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    text.lines().any(|line| line.trim_end() == "[workspace]")
}

/// Where the toolchain is that builds `folder`.
pub(crate) fn sysroot(folder: &Path) -> Result<PathBuf> {
    Ok(rustc(folder, "sysroot")?.into())
}

/// The folder with Rust's own linker under the names by which a C compiler calls one.
pub(crate) fn linkers(folder: &Path) -> Result<PathBuf> {
    let host = rustc(folder, "host-tuple")?;
    let rustlib = sysroot(folder)?.join("lib/rustlib");
    Ok(rustlib.join(host).join("bin/gcc-ld"))
}

fn rustc(folder: &Path, what: &str) -> Result<String> {
    let mut query = Command::new("rustc");
    query.args(["--print", what]).current_dir(folder);
    Ok(process::output(query)?.trim().to_owned())
}

/// The workspace's own packages; dependencies are not resolved.
pub(crate) fn metadata(root: &Path) -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .context("cargo metadata failed")
}
