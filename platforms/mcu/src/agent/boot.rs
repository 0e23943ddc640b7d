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
        log.write(|line| {
            line.put("started: reset=");
            line.put(board.reset_reason().as_str());
            line.put(" version=");
            line.number(version.major.into());
            line.put(".");
            line.number(version.minor.into());
            line.put(".");
            line.number(version.patch);
            line.put(" slot=");
            line.put(report.slot.as_str());
            line.put(" why=");
            line.put(report.why.as_str());
            line.put(" outcome=");
            for word in report.outcome.words() {
                line.put(word);
            }
            // The code of the `Reject`.
            if let Some(reject) = report.outcome.reject() {
                line.number(reject as u32);
            }
        });
    }
    let mut text = [0; FAULT_BYTES];
    let len = board.take_fault(&mut text).min(FAULT_BYTES);
    if len > 0 {
        log.write(|line| {
            line.put("the last life ended with a fault: ");
            line.put(last_words::valid(&text[..len]));
        });
    }
}
