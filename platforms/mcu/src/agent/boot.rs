//! What the agent tells the fleet first.

use core::cell::RefCell;

use super::firmware::Firmware;
use super::{Board, Log};
use crate::last_words;
use crate::limits::FAULT_BYTES;
use crate::origin::Origin;
use crate::slots::Slots;

/// Why the device started, what runs and why, and what the last life died of.
pub(super) fn tell(
    log: &Log,
    board: &RefCell<&mut impl Board>,
    firmware: &mut Firmware<'_, impl Slots>,
) {
    let mut board = board.borrow_mut();
    let report = firmware.report();
    if let Ok(header) = firmware.running() {
        last_words::runs(&header.digest);
        log.comes_from(Origin::new(&header.digest, header.load));
        let version = header.version;
        let mut digits = [[0; DIGITS]; 4];
        let [major, minor, patch, code] = &mut digits;
        let [outcome, cause] = report.outcome.words();
        log.pieces(&[
            "started: reset=",
            board.reset_reason().as_str(),
            " version=",
            decimal(version.major.into(), major),
            ".",
            decimal(version.minor.into(), minor),
            ".",
            decimal(version.patch, patch),
            " slot=",
            report.slot.as_str(),
            " why=",
            report.why.as_str(),
            " outcome=",
            outcome,
            cause,
            // The code of the `Reject`.
            match report.outcome.reject() {
                Some(reject) => decimal(reject as u32, code),
                None => "",
            },
        ]);
    }
    let mut text = [0; FAULT_BYTES];
    let len = board.take_fault(&mut text).min(FAULT_BYTES);
    if let Some(chunk) = text[..len].utf8_chunks().next().filter(|_| len > 0) {
        log.pieces(&["the last life ended with a fault: ", chunk.valid()]);
    }
}

/// Digits of the largest number.
const DIGITS: usize = 10;

/// A number as text, in the room given.
fn decimal(mut number: u32, room: &mut [u8; DIGITS]) -> &str {
    let mut start = DIGITS;
    loop {
        start -= 1;
        room[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return str::from_utf8(&room[start..]).unwrap_or_default();
        }
    }
}
