//! Brings what the tests need: toolchain parts by rustup, programs by apt.
//!
//! As root on Debian it installs what is missing; elsewhere it prints exactly what to install.
//! Nothing is touched when nothing is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages::Package;
use crate::process;
use crate::report::Step;

/// Targets that some step builds for.
pub(crate) const TARGETS: &[&str] = &[
    "thumbv6m-none-eabi",
    "thumbv7m-none-eabi",
    "riscv32imac-unknown-none-elf",
];

/// The library's source is what the bootloader's budget is held with: see `device`.
const COMPONENTS: &[&str] = &["clippy", "rustfmt", "rust-src"];

/// Makes the pinned toolchain complete.
pub(crate) fn toolchain(step: &mut Step, root: &Path) -> Result<()> {
    targets(step, root, TARGETS)?;
    if !process::is_installed("rustup") {
        return Ok(());
    }
    let have = installed(root, "component")?;
    // Components are listed with the host's name behind them: `clippy-x86_64-unknown-linux-gnu`.
    let missing: Vec<&str> = COMPONENTS
        .iter()
        .filter(|name| !have.iter().any(|line| line.starts_with(*name)))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    step.run(rustup(root, &["component", "add"], &missing))
}

/// Adds the targets that are missing.
pub(crate) fn targets(step: &mut Step, root: &Path, wanted: &[&str]) -> Result<()> {
    if !process::is_installed("rustup") {
        step.skip(format!(
            "rustup is not installed; these must be present already: {} {}",
            COMPONENTS.join(" "),
            wanted.join(" ")
        ));
        return Ok(());
    }
    let missing = missing(wanted, &installed(root, "target")?);
    if missing.is_empty() {
        return Ok(());
    }
    step.run(rustup(root, &["target", "add"], &missing))
}

/// Installs the Debian packages that are missing, or says which to install.
pub(crate) fn packages(step: &mut Step, wanted: &[Package]) -> Result<()> {
    let missing: Vec<&Package> = wanted
        .iter()
        .filter(|wanted| !is_present(wanted.name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        println!("missing: {} ({})", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !process::is_installed("apt-get") || !is_root()? {
        step.skip(format!(
            "tests that need them will be skipped; install with: sudo apt-get install --no-install-recommends {}",
            names.join(" ")
        ));
        return Ok(());
    }
    step.run(apt(&["update"]))?;
    let words = ["install", "--yes", "--no-install-recommends"];
    step.run(apt(&[&words[..], &names[..]].concat()))
}

/// The version of schemathesis that the fleet server is tried with.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Puts schemathesis in a folder of its own below `target`, where the fleet server's test looks for it.
pub(crate) fn schemathesis(step: &mut Step, root: &Path) -> Result<()> {
    let folder = root.join("target/tools/schemathesis");
    if folder.join("bin/schemathesis").is_file() {
        return Ok(());
    }
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv", "--clear"]).arg(&folder);
    let mut install = Command::new(folder.join("bin/pip"));
    install.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        SCHEMATHESIS,
    ]);
    let made = process::output(environment).and_then(|_| process::output(install));
    if let Err(error) = made {
        step.skip(format!("schemathesis cannot be installed: {error:#}"));
    }
    Ok(())
}

fn rustup(root: &Path, words: &[&str], names: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(words).args(names).current_dir(root);
    command
}

fn installed(root: &Path, kind: &str) -> Result<Vec<String>> {
    let list = process::output(rustup(root, &[kind, "list"], &["--installed"]))?;
    Ok(list.lines().map(|line| line.trim().to_owned()).collect())
}

fn missing<'a>(wanted: &[&'a str], have: &[String]) -> Vec<&'a str> {
    wanted
        .iter()
        .filter(|name| !have.iter().any(|line| line == *name))
        .copied()
        .collect()
}

fn is_present(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    process::output(query).is_ok_and(|status| status == "installed")
}

fn is_root() -> Result<bool> {
    let mut id = Command::new("id");
    id.arg("--user");
    Ok(process::output(id)
        .context("cannot tell who runs this")?
        .trim()
        == "0")
}

fn apt(words: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args([
            "--quiet",
            "--option=Dpkg::Use-Pty=0",
            "--option=Acquire::Retries=3",
        ])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_absent_is_missing() {
        let have = ["thumbv6m-none-eabi".to_owned()];
        assert_eq!(
            missing(&["thumbv6m-none-eabi", "thumbv7m-none-eabi"], &have),
            ["thumbv7m-none-eabi"]
        );
    }

    #[test]
    fn an_unknown_package_is_not_present() {
        assert!(!is_present("no-such-package-here"));
    }
}
