//! The same sources give the same firmware, bit for bit, in whatever folder they lie.
//!
//! Two things tell folders apart. Paths in panic messages: the compiler is told to cut them.
//! And the number that cargo gives each crate, which it takes from the crate's absolute path and
//! from which the compiler orders functions: this program stands between cargo and the compiler
//! and gives a number that is made of what the crate is.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::workspace;

/// Set where this program is to be the compiler's wrapper; the value is the folders to cut.
const CUT: &str = "LIGHTSHIP_CUT_FROM_PATHS";

/// Has cargo call the compiler through this program.
pub(crate) fn wrap(cargo: &mut Command, root: &Path) -> Result<()> {
    let own = own_program()?;
    let folders = [root.to_owned(), cargo_home()?, workspace::sysroot(root)?];
    let joined = std::env::join_paths(folders).context("a folder has `:` in its name")?;
    cargo.env("RUSTC_WRAPPER", own).env(CUT, joined);
    Ok(())
}

/// Where this program can be started from, although `cargo test` may have put another in its place.
fn own_program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("this program cannot say where it is")?;
    if path.is_file() {
        return Ok(path);
    }
    // Linux keeps what runs, and says "(deleted)" behind a path that is no longer its own.
    Ok(format!("/proc/{}/exe", std::process::id()).into())
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::home_dir().context("there is no home folder; set CARGO_HOME")?;
    Ok(home.join(".cargo"))
}

/// Runs the compiler, if this process is its wrapper.
pub(crate) fn as_wrapper() -> Option<Result<ExitCode>> {
    let cut = std::env::var_os(CUT)?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    Some(compile(&cut, &words))
}

fn compile(cut: &std::ffi::OsStr, words: &[String]) -> Result<ExitCode> {
    let [compiler, words @ ..] = words else {
        bail!("{CUT} is set, and no compiler is named");
    };
    let package = ["CARGO_PKG_NAME", "CARGO_PKG_VERSION"]
        .map(|name| std::env::var(name).unwrap_or_default())
        .join(" ");
    let mut command = Command::new(compiler);
    command.args(with_own_number(words, &package));
    // The order is cargo's, the last that fits counts: the folders lie beside each other.
    for (folder, name) in std::env::split_paths(cut).zip(["lightship", "cargo", "rust"]) {
        command.arg(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    let status = command
        .env_remove(CUT)
        .status()
        .with_context(|| format!("could not start `{compiler}`"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The words with the number of `-C metadata=` made of the package, its features and its kind.
fn with_own_number(words: &[String], package: &str) -> Vec<String> {
    const NUMBER: &str = "metadata=";
    let tells = |at: &usize| {
        let flag = at.checked_sub(1).and_then(|at| words.get(at));
        flag.is_some_and(|flag| {
            [
                "--crate-name",
                "--crate-type",
                "--cfg",
                "--target",
                "--edition",
            ]
            .contains(&flag.as_str())
        })
    };
    let told: Vec<&str> = (0..words.len())
        .filter(tells)
        .map(|at| words[at].as_str())
        .collect();
    let digest = Sha256::digest(format!("{package} {}", told.join(" ")));
    let own = digest[..8].iter().map(|byte| format!("{byte:02x}"));
    let own: String = std::iter::once(NUMBER.to_owned()).chain(own).collect();
    let is_number = |word: &String| word.starts_with(NUMBER);
    let changed = words
        .iter()
        .map(|word| if is_number(word) { &own } else { word });
    changed.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        with_own_number(&words, "a 1.0.0").join(" ")
    }

    #[test]
    fn a_crate_has_the_same_number_in_every_folder_and_another_with_other_features() {
        let here = numbered("--crate-name a x/a.rs -C metadata=12 --cfg f");
        let there = numbered("--crate-name a y/a.rs -C metadata=34 --cfg f");
        assert_eq!(here.replace("x/", "y/"), there);
        assert!(!here.contains("metadata=12"));
        let other = numbered("--crate-name a x/a.rs -C metadata=12 --cfg g");
        assert_ne!(here.replace("--cfg f", "--cfg g"), other);
    }
}
