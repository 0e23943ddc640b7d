//! Programs for microcontrollers: each folder is a workspace of its own, with its target, flags and profile in it.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::process;

/// Linked programs by name.
pub(crate) type Programs = BTreeMap<String, PathBuf>;

/// Builds the release programs of `folder` and says where they are.
pub(crate) fn build(root: &Path, folder: &str, features: &[&str]) -> Result<Programs> {
    let path = root.join(folder);
    share_lock(root, &path)?;
    let mut command = process::cargo(&path, ["build", "--release", "--bins"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    if is_smallest(&path) {
        command
            .args(["--config", SMALLEST])
            .env("RUSTC_BOOTSTRAP", "1");
    }
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    // The flags stand in the folder's configuration, which these would replace.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    println!(
        "$ (cd {folder} && cargo build --release {})",
        features.join(",")
    );
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start cargo")?;
    let messages = child.stdout.take().expect("the output is piped");
    let mut programs = Programs::new();
    for message in Message::parse_stream(BufReader::new(messages)) {
        if let Message::CompilerArtifact(artifact) = message?
            && let Some(program) = artifact.executable
        {
            programs.insert(artifact.target.name, program.into_std_path_buf());
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("building {folder} ended with {status}");
    }
    Ok(programs)
}

/// Compiler options of a folder that are not stable yet; they make its programs as small as they ship.
const SMALLEST: &str = "smallest.toml";

/// Whether the folder has such options, and the standard library's source that they build is there.
fn is_smallest(folder: &Path) -> bool {
    let mut query = std::process::Command::new("rustc");
    query.args(["--print", "sysroot"]).current_dir(folder);
    let source = |sysroot: String| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    folder.join(SMALLEST).is_file()
        && process::output(query).is_ok_and(|root| source(root).is_dir())
}

/// Gives a folder that commits no `Cargo.lock` the root's, so that its dependencies are the same versions.
///
/// Cargo drops from the copy what the folder does not use, and adds what only the folder uses.
/// A copy that is not older than the root's is kept, so that nothing is looked up again.
pub(crate) fn share_lock(root: &Path, folder: &Path) -> Result<()> {
    let name = "Cargo.lock";
    let mut query = std::process::Command::new("git");
    query
        .args(["ls-files", "--error-unmatch", name])
        .current_dir(folder);
    if process::output(query).is_ok() {
        return Ok(());
    }
    let (source, copy) = (root.join(name), folder.join(name));
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified());
    if changed(&copy).is_ok_and(|at| changed(&source).is_ok_and(|source| source <= at)) {
        return Ok(());
    }
    std::fs::copy(source, copy)
        .with_context(|| format!("cannot copy {name} to {}", folder.display()))?;
    Ok(())
}
