//! `cargo xtask fuzz`: looks for inputs that trip a fuzz target.
//!
//! It builds as cargo-fuzz does (libFuzzer, coverage of edges and comparisons, AddressSanitizer), with a nightly compiler,
//! so that nothing but the compiler has to be installed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{device, process, workspace};

const HELP: &str = "\
Runs a fuzz target, starting from its committed corpus.

Usage: cargo xtask fuzz <target> [seconds]    look for new inputs, a minute long unless told
       cargo xtask fuzz <target> keep         add what was found, reduced, to the committed corpus

An input that trips the target is written to <folder>/artifacts/<target>; mend the fault,
then move the input into <folder>/corpus/<target>, where ordinary tests replay it.";

/// Workspaces with fuzz targets.
const FOLDERS: &[&str] = &["core/fuzz", "platforms/image/fuzz", "platforms/spec/fuzz"];

/// What cargo-fuzz passes to the compiler.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "-Ccodegen-units=1",
];

/// A fuzz target and the folder of its workspace.
struct Target {
    name: String,
    folder: PathBuf,
}

/// What to do with a target.
enum Task {
    Search { seconds: u32 },
    Keep,
}

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let root = workspace::root();
    let targets = targets(&root)?;
    let (name, task) = match words {
        [word] if word == "--help" || word == "-h" => {
            println!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        [name] => (name, Task::Search { seconds: 60 }),
        [name, word] if word == "keep" => (name, Task::Keep),
        [name, seconds] => {
            let seconds = seconds
                .parse()
                .with_context(|| format!("`{seconds}` are no seconds"))?;
            (name, Task::Search { seconds })
        }
        _ => bail!("name a target; there are: {}\n\n{HELP}", names(&targets)),
    };
    let Some(target) = targets.iter().find(|target| target.name == *name) else {
        bail!(
            "there is no target `{name}`; there are: {}",
            names(&targets)
        );
    };
    let program = build(&root, target)?;
    match task {
        Task::Search { seconds } => search(target, &program, seconds)?,
        Task::Keep => keep(target, &program)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn targets(root: &Path) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for folder in FOLDERS.iter().map(|folder| root.join(folder)) {
        let programs = folder.join("fuzz_targets");
        if !programs.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&programs)? {
            let name = entry?
                .path()
                .file_stem()
                .map(|name| name.to_string_lossy().into_owned());
            targets.extend(name.map(|name| Target {
                name,
                folder: folder.clone(),
            }));
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

fn names(targets: &[Target]) -> String {
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    names.join(", ")
}

fn build(root: &Path, target: &Target) -> Result<PathBuf> {
    device::share_lock(root, &target.folder)?;
    let host = host()?;
    let build = target_folder(target);
    let mut command = process::cargo(&target.folder, ["+nightly", "build", "--release"]);
    command
        .args(["--target", &host, "--bin", &target.name, "--target-dir"])
        .arg(&build)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
        .env_remove("RUSTUP_TOOLCHAIN");
    process::stream(command, |_| ()).context(
        "a nightly compiler is needed: rustup toolchain install nightly --profile minimal",
    )?;
    Ok(build.join(host).join("release").join(&target.name))
}

/// The triple of this machine, which AddressSanitizer needs to be told.
fn host() -> Result<String> {
    let mut rustc = Command::new("rustc");
    rustc.arg("-vV");
    let said = process::output(rustc)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("rustc does not say what machine this is")?
        .to_owned())
}

fn target_folder(target: &Target) -> PathBuf {
    target.folder.join("target")
}

/// Where inputs wait that were found here and not committed.
fn found(target: &Target) -> PathBuf {
    target_folder(target).join("found").join(&target.name)
}

fn search(target: &Target, program: &Path, seconds: u32) -> Result<()> {
    let artifacts = target.folder.join("artifacts").join(&target.name);
    let (found, corpus) = (found(target), corpus(target));
    for folder in [&artifacts, &found] {
        std::fs::create_dir_all(folder)?;
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-max_len=8192", "-timeout=10", "-print_final_stats=1"])
        .args([&found, &corpus]);
    process::stream(command, |_| ())?;
    println!(
        "\nnothing tripped it; keep what was found with: cargo xtask fuzz {} keep",
        target.name
    );
    Ok(())
}

fn keep(target: &Target, program: &Path) -> Result<()> {
    let mut command = Command::new(program);
    // By edges alone: what differs only in how often an edge was taken is not worth a file.
    command
        .args(["-set_cover_merge=1", "-use_counters=0"])
        .args([corpus(target), found(target)]);
    process::stream(command, |_| ())
}

fn corpus(target: &Target) -> PathBuf {
    target.folder.join("corpus").join(&target.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_of_the_core_are_found() {
        let targets = targets(&workspace::root()).expect("the folders are readable");
        let names = names(&targets);
        assert!(names.contains("wire"), "{names}");
    }

    #[test]
    fn an_unknown_target_is_an_error_that_names_the_known_ones() {
        let error = run(&["no-such-target".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("wire"), "{error}");
    }

    #[test]
    fn seconds_must_be_a_number() {
        assert!(run(&["wire".to_owned(), "soon".to_owned()]).is_err());
    }
}
