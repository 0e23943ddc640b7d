//! `cargo xtask size`: what programs weigh on a microcontroller, against their budgets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::device::{self, Programs};
use crate::elf::{self, Weight};
use crate::report::Step;
use crate::{process, workspace};

const HELP: &str = "\
Builds programs for microcontrollers, weighs them and fails over a budget.

Usage: cargo xtask size

Flash is code, constants and initial values; RAM is variables, without the stack.
Programs with a measuring build are run in QEMU, if it is installed, to see how deep their stack goes;
of firmware it is what the tests of the boards, with a real fleet, measured last.
The table of programs is in xtask/src/size.rs.";

/// One program and what it may weigh, in bytes.
struct Row {
    name: &'static str,
    /// Folder of its workspace.
    folder: &'static str,
    program: &'static str,
    /// A program of the same folder whose weight is taken off: start-up code that every program has.
    over: Option<&'static str>,
    flash: u64,
    /// `None` where nothing is said about it.
    ram: Option<u64>,
    /// Its code is told apart by crate.
    has_parts: bool,
    depth: Depth,
}

/// How it is known how deep a program's stack goes.
enum Depth {
    Unknown,
    /// It has a feature `measure` and runs on QEMU's emcraft-sf2.
    Measured,
    /// The test of this board, `hil-tests/tests/boards`, left what the firmware said when it enrolled and updated itself.
    Told(&'static str),
}

/// Add a row for whatever has a budget in the design's section 10.
const ROWS: &[Row] = &[
    Row {
        name: "core + trust, 4 components",
        folder: "core/link-check",
        program: "agent",
        over: Some("empty"),
        flash: 36 * 1024,
        ram: Some(6 * 1024),
        has_parts: false,
        depth: Depth::Measured,
    },
    Row {
        name: "tunnel, thumbv7m",
        folder: "transports/wireguard/link-check/cortex-m",
        program: "tunnel",
        over: Some("empty"),
        flash: 36 * 1024,
        ram: Some(8 * 1024),
        has_parts: false,
        depth: Depth::Unknown,
    },
    Row {
        name: "tunnel, riscv32imac",
        folder: "transports/wireguard/link-check/riscv",
        program: "tunnel",
        over: Some("empty"),
        flash: 48 * 1024,
        ram: Some(8 * 1024),
        has_parts: false,
        depth: Depth::Unknown,
    },
    // What each transport adds with the messages that it carries, and its memory; HTTP brings JSON as well.
    transport("MQTT, thumbv7m", ARMV7M, "mqtt", 26, Some(7)),
    transport("HTTP, thumbv7m", ARMV7M, "https", 76, Some(15)),
    transport("serial, thumbv7m", ARMV7M, "serial", 24, Some(7)),
    transport("serial, thumbv6m", ARMV6M, "serial", 26, Some(7)),
    transport("MQTT, riscv32imac", RISCV, "mqtt", 32, None),
    transport("HTTP, riscv32imac", RISCV, "https", 104, None),
    transport("serial, riscv32imac", RISCV, "serial", 29, None),
    bootloader(
        "bootloader, cortex-m3-sf2",
        "platforms/mcu/boards/cortex-m3-sf2",
    ),
    bootloader("bootloader, riscv-virt", "platforms/mcu/boards/riscv-virt"),
    firmware(
        "firmware, cortex-m3-sf2",
        ("platforms/mcu/boards/cortex-m3-sf2", "cortex-m3-sf2"),
    ),
    firmware(
        "firmware, riscv-virt",
        ("platforms/mcu/boards/riscv-virt", "riscv-virt"),
    ),
];

const ARMV6M: &str = "transports/link-check/cortex-m0";
const ARMV7M: &str = "transports/link-check/cortex-m";
const RISCV: &str = "transports/link-check/riscv";

const fn transport(
    name: &'static str,
    folder: &'static str,
    program: &'static str,
    flash_kib: u64,
    ram_kib: Option<u64>,
) -> Row {
    Row {
        name,
        folder,
        program,
        over: Some("empty"),
        flash: flash_kib * 1024,
        ram: match ram_kib {
            Some(kib) => Some(kib * 1024),
            None => None,
        },
        has_parts: false,
        depth: Depth::Unknown,
    }
}

/// Agent, MQTT, WireGuard, IP, slots, logs, and a driver for a network card.
const fn firmware(name: &'static str, (folder, board): (&'static str, &'static str)) -> Row {
    Row {
        name,
        folder,
        program: "firmware",
        over: None,
        flash: 160 * 1024,
        ram: Some(56 * 1024),
        has_parts: true,
        depth: Depth::Told(board),
    }
}

const fn bootloader(name: &'static str, folder: &'static str) -> Row {
    Row {
        name,
        folder,
        program: "bootloader",
        over: None,
        flash: 16 * 1024,
        ram: None,
        has_parts: false,
        depth: Depth::Unknown,
    }
}

/// Longest time a measured program may run in QEMU.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    match words {
        [] => (),
        [word] if word == "--help" || word == "-h" => {
            println!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        _ => bail!("`cargo xtask size` takes no arguments\n\n{HELP}"),
    }
    let mut is_over = false;
    for (name, verdict) in weigh_all(&workspace::root()) {
        if let Err(error) = verdict {
            eprintln!("error: {name}: {error:#}");
            is_over = true;
        }
    }
    Ok(if is_over {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Weighs everything; each row is one check.
pub(crate) fn check(step: &mut Step, root: &Path) {
    for (name, verdict) in weigh_all(root) {
        step.check(name, verdict);
    }
}

fn weigh_all(root: &Path) -> Vec<(&'static str, Result<()>)> {
    let mut built = BTreeMap::new();
    let measured: Vec<_> = ROWS
        .iter()
        .map(|row| (row, measure(root, row, &mut built)))
        .collect();
    println!(
        "\n{:<32} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "flash", "budget", "RAM", "budget", "stack"
    );
    measured
        .into_iter()
        .map(|(row, found)| (row.name, found.and_then(|found| judge(row, found))))
        .collect()
}

struct Found {
    weight: Weight,
    /// How deep the stack went, if that was looked at; the program says itself when it did not do its work.
    stack: Result<Option<u64>>,
}

fn measure(root: &Path, row: &Row, built: &mut BTreeMap<&'static str, Programs>) -> Result<Found> {
    if !built.contains_key(row.folder) {
        built.insert(row.folder, device::build(root, row.folder, &[])?);
    }
    let programs = &built[row.folder];
    let mut weight = elf::weigh(path(programs, row.program)?)?;
    if let Some(over) = row.over {
        weight = weight.over(elf::weigh(path(programs, over)?)?);
    }
    if row.has_parts {
        println!("\n{}, bytes of code and constants by crate:", row.name);
        for (part, bytes) in elf::parts(path(programs, row.program)?)? {
            println!("{bytes:>8} {part}");
        }
    }
    let stack = match row.depth {
        Depth::Measured if process::is_installed("qemu-system-arm") => stack(root, row).map(Some),
        Depth::Measured | Depth::Unknown => Ok(None),
        Depth::Told(board) => told(root, board),
    };
    Ok(Found { weight, stack })
}

fn path<'a>(programs: &'a Programs, name: &str) -> Result<&'a Path> {
    let path = programs
        .get(name)
        .with_context(|| format!("there is no program `{name}`"))?;
    Ok(path)
}

/// Runs the measuring build, which says `stack <bytes>`.
fn stack(root: &Path, row: &Row) -> Result<u64> {
    let programs = device::build(root, row.folder, &["measure"])?;
    let mut machine = Command::new("qemu-system-arm");
    machine
        .args([
            "-M",
            "emcraft-sf2",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "none",
        ])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(path(&programs, row.program)?);
    let said = process::output_within(machine, RUN_LIMIT)?;
    said.lines()
        .find_map(|line| line.strip_prefix("stack ")?.trim().parse().ok())
        .with_context(|| {
            format!(
                "{} did not say how deep its stack went: {said}",
                row.program
            )
        })
}

/// What the board's test left; nothing if it did not run here.
fn told(root: &Path, board: &str) -> Result<Option<u64>> {
    let path = root.join("target/tmp").join(format!("stack-{board}"));
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(None);
    };
    let bytes = text.parse();
    let bytes = bytes.with_context(|| format!("{}: `{text}` is no number", path.display()))?;
    Ok(Some(bytes))
}

fn judge(row: &Row, found: Found) -> Result<()> {
    let Found { weight, stack } = found;
    let ram_budget = row.ram.map_or("-".to_owned(), |bytes| bytes.to_string());
    let depth = match &stack {
        Ok(Some(bytes)) => bytes.to_string(),
        Ok(None) => "-".to_owned(),
        Err(_) => "failed".to_owned(),
    };
    println!(
        "{:<32} {:>8} {:>8} {:>8} {:>8} {depth:>8}",
        row.name, weight.flash, row.flash, weight.ram, ram_budget
    );
    let over = |what, bytes: u64, budget| match bytes.checked_sub(budget) {
        None | Some(0) => None,
        Some(over) => Some(format!("{bytes} bytes of {what}, {over} over budget")),
    };
    let flash = over("flash", weight.flash, row.flash);
    let ram = row.ram.and_then(|budget| over("RAM", weight.ram, budget));
    let over: Vec<String> = flash.into_iter().chain(ram).collect();
    if !over.is_empty() {
        bail!("{}", over.join("; "));
    }
    stack.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = Row {
        name: "x",
        folder: "x",
        program: "x",
        over: None,
        flash: 100,
        ram: Some(10),
        has_parts: false,
        depth: Depth::Unknown,
    };

    fn verdict(flash: u64, ram: u64) -> Result<()> {
        judge(
            &ROW,
            Found {
                weight: Weight { flash, ram },
                stack: Ok(None),
            },
        )
    }

    #[test]
    fn a_program_may_weigh_its_budget_and_no_byte_more() {
        assert!(verdict(100, 10).is_ok());
        assert!(verdict(101, 10).is_err());
        assert!(verdict(100, 11).is_err());
    }
}
