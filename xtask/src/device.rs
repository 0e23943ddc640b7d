//! Programs for microcontrollers: each folder is a workspace of its own, with its target, flags and profile in it.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::{process, reproduce, workspace};

/// Linked programs by name.
pub(crate) type Programs = BTreeMap<String, PathBuf>;

/// Builds the release programs of `folder` and says where they are.
///
/// The same sources give the same programs in every folder: see [`reproduce`].
/// A bootloader is built apart: the features of its neighbours are not for it.
pub(crate) fn build(root: &Path, folder: &str, features: &[&str]) -> Result<Programs> {
    let path = root.join(folder);
    share_lock(root, &path)?;
    println!(
        "$ (cd {folder} && cargo build --release {})",
        features.join(",")
    );
    let (bootloader, others): (Vec<_>, Vec<_>) = programs_of(&path)?
        .into_iter()
        .partition(|name| name == BOOTLOADER);
    let mut programs = Programs::new();
    for (names, alone) in [(others, false), (bootloader, true)] {
        if names.is_empty() {
            continue;
        }
        let mut build = command(root, &path)?;
        build.args(names.iter().flat_map(|name| ["--bin", name]));
        if alone {
            build.arg("--no-default-features");
        } else if !features.is_empty() {
            build.args(["--features", &features.join(",")]);
        }
        programs.extend(run(folder, build)?);
    }
    Ok(programs)
}

/// Builds one program of `folder` that is no bootloader, as [`build`] does, and says where it is.
pub(crate) fn build_one(root: &Path, folder: &str, program: &str) -> Result<PathBuf> {
    let path = root.join(folder);
    share_lock(root, &path)?;
    println!("$ (cd {folder} && cargo build --release --bin {program})");
    let mut build = command(root, &path)?;
    build.args(["--bin", program]);
    let built = run(folder, build)?.remove(program);
    built.with_context(|| format!("there is no program `{program}`"))
}

const BOOTLOADER: &str = "bootloader";

/// The names of the programs in a folder.
fn programs_of(folder: &Path) -> Result<Vec<String>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(folder)
        .no_deps()
        .exec()?;
    let targets = metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets);
    let programs = targets.filter(cargo_metadata::Target::is_bin);
    Ok(programs.map(|target| target.name).collect())
}

fn command(root: &Path, path: &Path) -> Result<Command> {
    let mut command = process::cargo(path, ["build", "--release"]);
    command
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--target-dir", "target/device"])
        // The flags stand in the folder's configuration, which these would replace.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if path.join(SMALLEST).is_file() {
        needs_source(path)?;
        command
            .args(["--config", SMALLEST])
            .env("RUSTC_BOOTSTRAP", "1");
    }
    reproduce::wrap(&mut command, root)?;
    Ok(command)
}

/// Runs a build and collects what it links.
fn run(folder: &str, mut command: Command) -> Result<Programs> {
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

/// Compiler options that are not stable yet; they make the folder's programs as small as they ship.
const SMALLEST: &str = ".cargo/smallest.toml";

/// Such options build the standard library anew, so its source must be there.
fn needs_source(folder: &Path) -> Result<()> {
    let source = workspace::sysroot(folder)?.join("lib/rustlib/src/rust/library");
    if !source.is_dir() {
        bail!(
            "{} is built with the standard library's source, which is missing; \
             install it with: rustup component add rust-src",
            folder.display()
        );
    }
    Ok(())
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
