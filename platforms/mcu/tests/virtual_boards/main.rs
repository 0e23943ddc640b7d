//! Updates on virtual boards whose power is really cut.
//!
//! QEMU is killed at random points of one update after another. Whatever the cut hit, the next
//! start runs the old image or the new one, whole, and says truthfully which.
//!
//! `LIGHTSHIP_LONG=1` makes it 200 cuts instead of 20.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[allow(dead_code, reason = "the fleet's test uses the rest")]
mod board;
mod configuration;
mod drivers;
mod images;

use board::{Board, CORTEX_M3_SF2, Kind, Machine, RISCV_VIRT};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// The folder of the boards.
const BOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/boards");
/// Longest time that a board may say nothing: a loaded machine runs QEMU slowly.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn the_boards_trust_the_test_key() {
    let public = include_bytes!("../../boards/virtual-release-key.pub");
    assert_eq!(&images::key().verifying_key().to_bytes(), public);
}

#[test]
fn a_riscv_board_survives_power_cuts_at_random_points_of_updates() {
    survives(&RISCV_VIRT);
}

#[test]
fn a_cortex_m3_board_survives_power_cuts_at_random_points_of_updates() {
    survives(&CORTEX_M3_SF2);
}

#[test]
fn a_riscv_board_starts_no_image_that_is_not_what_was_signed() {
    refuses(&RISCV_VIRT);
}

#[test]
fn a_cortex_m3_board_starts_no_image_that_is_not_what_was_signed() {
    refuses(&CORTEX_M3_SF2);
}

/// What is known of a device from what it said.
struct Fleet {
    /// The newest version that was confirmed.
    confirmed: u16,
    /// Whether its successor was marked, or seen running.
    marked: bool,
}

impl Fleet {
    /// Takes a line of the device and panics if it cannot be true.
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (old, new) = (self.confirmed, self.confirmed + 1);
        match words[..] {
            ["report", version, why, outcome] => {
                let version = number(version);
                let (why, outcome) = (why, outcome);
                let truthful = match (version == new, version == old) {
                    (true, _) => match (why, outcome) {
                        ("why=Trial", "outcome=None") => true,
                        ("why=Confirmed", "outcome=Confirmed") => self.marked,
                        _ => false,
                    },
                    (_, true) => {
                        let before = if old == 1 {
                            "outcome=None"
                        } else {
                            "outcome=Confirmed"
                        };
                        why == "why=Confirmed" && outcome == before && !self.marked
                    }
                    _ => false,
                };
                assert!(truthful, "after {old}, marked {}: {line}", self.marked);
                self.marked |= version == new;
                if version == new && why == "why=Confirmed" {
                    self.confirm();
                }
            }
            ["staging", ..] => assert!(!self.marked, "{line}"),
            // The line is lost if the cut comes first, so a trial may come without it.
            ["marked", version] => {
                assert_eq!(number(version), new, "{line}");
                self.marked = true;
            }
            ["confirmed", version] => {
                assert_eq!(number(version), new, "{line}");
                self.confirm();
            }
            ["idle", version] => assert_eq!(number(version), old, "{line}"),
            _ => panic!("the device says `{line}`"),
        }
    }

    fn confirm(&mut self) {
        self.confirmed += 1;
        self.marked = false;
    }
}

/// `version=3.0.0` is 3.
fn number(word: &str) -> u16 {
    let version = word
        .strip_prefix("version=")
        .and_then(|text| text.strip_suffix(".0.0"));
    version
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("`{word}`"))
}

/// Hears the board until it is idle or the power is cut; a line that the cut tore is not one.
fn hear(board: &mut Fleet, machine: Machine, cut: Option<Instant>) -> bool {
    loop {
        let left = cut.map(|cut| cut.saturating_duration_since(Instant::now()));
        match machine.lines.recv_timeout(left.unwrap_or(PATIENCE)) {
            Ok(line) => {
                board.hear(&line);
                if line.starts_with("idle") && cut.is_none() {
                    return true;
                }
            }
            Err(RecvTimeoutError::Timeout) if cut.is_some() => {
                let mut rest = machine.cut();
                // The last line may be torn.
                rest.pop();
                rest.iter().for_each(|line| board.hear(line));
                return false;
            }
            Err(error) => panic!("the device is silent: {error}"),
        }
    }
}

fn is_long() -> bool {
    std::env::var_os("LIGHTSHIP_LONG").is_some()
}

fn survives(kind: &'static Kind) {
    let Some(board) = Board::new(kind, "probe") else {
        return;
    };
    let cuts = if is_long() { 100 } else { 10 };
    let mut fleet = Fleet {
        confirmed: 1,
        marked: false,
    };
    board.deliver(&board.image(2));
    let start = Instant::now();
    assert!(hear(&mut fleet, board.start(), None));
    // A whole update, and a little of the time after it.
    let longest = start.elapsed() * 9 / 8;
    assert_eq!(fleet.confirmed, 2);
    let mut random = 0x5EED_u64;
    for _ in 0..cuts {
        if !fleet.marked {
            board.deliver(&board.image(fleet.confirmed + 1));
        }
        random = random
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        let after = longest.mul_f64((random >> 40) as f64 / f64::from(1 << 24));
        hear(&mut fleet, board.start(), Some(Instant::now() + after));
    }
    let goal = if fleet.marked {
        fleet.confirmed + 1
    } else {
        fleet.confirmed
    };
    board.deliver(&board.image(goal));
    assert!(hear(&mut fleet, board.start(), None));
    assert_eq!(fleet.confirmed, goal);
    println!(
        "{}: {cuts} power cuts, {} updates, longest {longest:?}",
        kind.name,
        goal - 1
    );
}

fn refuses(kind: &'static Kind) {
    let Some(board) = Board::new(kind, "probe") else {
        return;
    };
    // Bits of the program changed: it is no longer what was signed.
    board.flip_in_first_slot(4000);
    let machine = board.start();
    let said = machine.lines.recv_timeout(Duration::from_secs(3));
    assert_eq!(
        said,
        Err(RecvTimeoutError::Timeout),
        "the bootloader resets and says nothing"
    );
    drop(machine);
    board.flip_in_first_slot(4000);
    let said = board.start().lines.recv_timeout(PATIENCE);
    assert_eq!(
        said.as_deref(),
        Ok("report version=1.0.0 why=Confirmed outcome=None")
    );
}
