//! A microcontroller's first configuration and its logs, as a person sees them: with the virtual boards' whole firmware.
//!
//! The board reads the block that `lightship config --format firmware` wrote, and logs with defmt; `lightship logs --elf` reads it.
//! Its network is QEMU's, through which it sees this host's loopback at 10.0.2.2.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../platforms/mcu/tests/virtual_boards/board.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod board;
mod desk;
#[path = "../../../platforms/mcu/tests/virtual_boards/images.rs"]
mod images;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use board::{Board, CORTEX_M3_SF2, Kind, Machine, RISCV_VIRT};
use desk::Desk;
use lightship_mcu::config::Config;

/// The folder of the boards.
const BOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../platforms/mcu/boards");
/// Longest time for one step: a loaded machine runs QEMU slowly.
const PATIENCE: Duration = Duration::from_secs(150);
/// Time between two looks at the fleet while the board says nothing.
const PAUSE: Duration = Duration::from_millis(500);

#[test]
fn what_a_riscv_board_logs_and_dies_of_is_read_on_the_shore() {
    logs(&RISCV_VIRT);
}

#[test]
fn what_a_cortex_m3_board_logs_and_dies_of_is_read_on_the_shore() {
    logs(&CORTEX_M3_SF2);
}

fn logs(kind: &'static Kind) {
    let Some(board) = Board::new(kind, "firmware") else {
        return;
    };
    let desk = Desk::with_fleet_seen_at("10.0.2.2");
    configure(&desk, &board);
    fs::write(desk.path("firmware.elf"), &board.elf).unwrap();

    // Version 1.0.4 panics once, version 1.0.5 does once what the processor refuses; a panic is one instruction that it refuses as well.
    board.install(&board.bare_image(4));
    let machine = board.start();
    // The traps of one function are one, so the file is told and not always the line.
    let said = hears(&desk, &machine, "/firmware.rs");
    assert!(said.contains("ended with a fault: fault at 0x"), "{said}");
    assert!(
        said.contains("started: reset=fault version=1.0.4"),
        "{said}"
    );
    let said = hears(&desk, &machine, "INFO ProvisioningKeyErased");
    assert!(
        said.contains("boot version=1.0.4 why=Confirmed outcome=None"),
        "{said}"
    );
    follows(&desk, "INFO ProvisioningKeyErased");
    refuses(&desk, &board);
    machine.cut();

    board.install(&board.bare_image(5));
    let machine = board.start();
    hears(&desk, &machine, "/power.rs");
    hears(
        &desk,
        &machine,
        "boot version=1.0.5 why=Confirmed outcome=None",
    );
    machine.cut();
}

/// The block is the one that `lightship config` wrote, and the board registers with it.
fn configure(desk: &Desk, board: &Board) {
    let words = ["config", "--type", "virtual", "--format", "firmware"];
    desk.ok(&[&words[..], &["--name", "buoy", "--out", "config.bin"]].concat());
    let block = fs::read(desk.path("config.bin")).unwrap();
    let config = Config::decode(&block).unwrap();
    assert_eq!(config.device_type.as_str(), "virtual");
    let entrance = config.entrance.unwrap();
    assert!(entrance.endpoint.as_str().starts_with("10.0.2.2:"));
    board.configure(&block);
}

fn logs_of(desk: &Desk, elf: &str) -> std::process::Output {
    desk.run(&["logs", "buoy", "-n", "1000", "--elf", elf])
}

/// Looks at the fleet's logs until this is in them.
fn hears(desk: &Desk, machine: &Machine, what: &str) -> String {
    let start = Instant::now();
    let mut port = Vec::new();
    loop {
        let output = logs_of(desk, "firmware.elf");
        let said = String::from_utf8(output.stdout).unwrap();
        if said.contains(what) {
            assert!(output.status.success());
            return said;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "`{what}` does not come; the fleet has:\n{said}{}\nthe board said:\n{}",
            String::from_utf8_lossy(&output.stderr),
            port.join("\n")
        );
        port.extend(machine.lines.recv_timeout(PAUSE));
        port.extend(machine.lines.try_iter());
    }
}

/// `--follow` shows what is stored, in the same words.
fn follows(desk: &Desk, what: &str) {
    let mut child = desk.start(&["logs", "buoy", "--follow", "--elf", "firmware.elf"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(what));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found);
}

/// Files that are not what runs there.
fn refuses(desk: &Desk, board: &Board) {
    let complaint = |elf: &str| {
        let output = logs_of(desk, elf);
        assert_eq!(output.status.code(), Some(1), "{elf}");
        assert!(output.stdout.is_empty(), "{elf}");
        String::from_utf8(output.stderr).unwrap()
    };
    let mut other = board.elf.clone();
    let text = b"fault at ";
    let at = other.windows(text.len()).position(|bytes| bytes == text);
    other[at.unwrap()] = b'F';
    fs::write(desk.path("other.elf"), &other).unwrap();
    let said = complaint("other.elf");
    assert!(
        said.contains("buoy logs as image ") && said.contains("other.elf makes "),
        "{said}"
    );
    fs::write(desk.path("image.elf"), board.bare_image(4)).unwrap();
    assert!(complaint("image.elf").contains("it is no ELF file"));
    assert!(complaint("none.elf").contains("none.elf cannot be read"));
    let host = env!("CARGO_BIN_EXE_lightship");
    assert!(complaint(host).contains("it says nothing of what it logs"));
    // Of several files that which fits is used.
    let both = [
        "logs",
        "buoy",
        "--elf",
        "other.elf",
        "--elf",
        "firmware.elf",
    ];
    desk.ok(&both);
}
