//! `cargo xtask firmware <board>`: builds the programs of a board, its bootloader among them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::report::Step;
use crate::{device, elf, image, process, workspace};

const HELP: &str = "\
Builds the programs of a board and says where they are and what they weigh.

Usage: cargo xtask firmware <board>
       cargo xtask firmware <board> --key FILE --version X.Y.Z --security-version N --device-type NAME --out FILE

The second form also makes the board's slot image, signed with the key whose seed of 32 bytes is in the file.
Boards are the folders of platforms/mcu/boards.";

const BOARDS: &str = "platforms/mcu/boards";

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let root = workspace::root();
    let boards = boards(&root)?;
    match words {
        [word] if word == "--help" || word == "-h" => println!("{HELP}"),
        [board] if boards.contains(board) => build(&root, &format!("{BOARDS}/{board}"))?,
        [board, wish @ ..] if boards.contains(board) => {
            let wish = image::Wish::from_words(wish)?;
            image::make(&root, &format!("{BOARDS}/{board}"), board, &wish)?;
        }
        [board] => bail!(
            "there is no board `{board}`; there are: {}",
            boards.join(", ")
        ),
        _ => bail!("name one board; there are: {}\n\n{HELP}", boards.join(", ")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds every board, its bootloader included; each board is one check.
pub(crate) fn check(step: &mut Step, root: &Path) -> Result<()> {
    for board in boards(root)? {
        step.check(&board, build(root, &format!("{BOARDS}/{board}")));
    }
    let name = format!("{TWICE} built in another folder");
    step.check(&name, is_the_same_elsewhere(root));
    Ok(())
}

/// The board whose firmware is built a second time.
const TWICE: &str = "riscv-virt";

/// Builds a board's firmware from a copy of the sources, and compares every byte of the images.
fn is_the_same_elsewhere(root: &Path) -> Result<()> {
    let elsewhere = root.join("target/elsewhere");
    copy_sources(root, &elsewhere)?;
    let folder = format!("{BOARDS}/{TWICE}");
    let (here, there) = (
        image::body(root, &folder)?,
        image::body(&elsewhere, &folder)?,
    );
    let differ = here.iter().zip(&there).filter(|(a, b)| a != b).count();
    println!(
        "{} bytes here, {} there, {differ} differ",
        here.len(),
        there.len()
    );
    if here != there {
        bail!(
            "the same sources give another image in {}",
            elsewhere.display()
        );
    }
    Ok(())
}

/// Copies what git knows or would know, and leaves what was built there before.
fn copy_sources(root: &Path, to: &Path) -> Result<()> {
    let mut query = std::process::Command::new("git");
    query
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root);
    for path in process::output(query)?.lines() {
        let (from, to) = (root.join(path), to.join(path));
        // What was deleted and not yet committed is still listed.
        let Ok(bytes) = std::fs::read(&from) else {
            continue;
        };
        if std::fs::read(&to).is_ok_and(|held| held == bytes) {
            continue;
        }
        std::fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        std::fs::write(&to, bytes)
            .with_context(|| format!("`{}` cannot be written", to.display()))?;
    }
    Ok(())
}

fn build(root: &Path, folder: &str) -> Result<()> {
    for (name, path) in device::build(root, folder, &[])? {
        // A board that is an ordinary process has nothing to weigh.
        if !elf::is_for_device(&path)? {
            println!("{name:<24} {}", path.display());
            continue;
        }
        let weight = elf::weigh(&path)?;
        let (flash, ram) = (weight.flash, weight.ram);
        println!(
            "{name:<24} {flash:>8} flash {ram:>8} RAM  {}",
            path.display()
        );
    }
    Ok(())
}

fn boards(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(BOARDS);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut boards = Vec::new();
    for entry in std::fs::read_dir(&folder).context("cannot list the boards")? {
        let entry = entry?;
        if is_crate(&entry.path()) {
            boards.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    boards.sort();
    Ok(boards)
}

/// The host board is one of the root's workspace: it is no firmware.
fn is_crate(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line == "[workspace]")
}
