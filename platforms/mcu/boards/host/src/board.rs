//! The process as a board.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use lightship_core::Note;
use lightship_mcu::agent::{Board, NoEntropy, ResetReason};

use crate::say::Say;

/// What is on the board beside the processor: it outlives a reset of that.
#[derive(Debug)]
pub(crate) struct Hardware {
    /// When the watchdog was fed last.
    pub(crate) fed: Cell<Instant>,
    /// The firmware asked for a reset.
    pub(crate) reset: Cell<bool>,
    /// What a panic left in RAM.
    pub(crate) fault: RefCell<Option<String>>,
}

/// The board, as the firmware sees it.
#[derive(Debug)]
pub(crate) struct HostBoard<'h> {
    pub(crate) hardware: &'h Hardware,
    pub(crate) reason: ResetReason,
    pub(crate) say: Say,
}

impl Board for HostBoard<'_> {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        getrandom::fill(bytes).map_err(|_| NoEntropy)
    }

    fn reset(&mut self) {
        self.hardware.reset.set(true);
    }

    fn feed(&mut self) {
        self.hardware.fed.set(Instant::now());
    }

    fn identify(&mut self) {
        self.say.event("identify", &[]);
    }

    fn fetched(&mut self, bytes: u64) {
        self.say.event("fetched", &[("bytes", bytes.to_string())]);
    }

    fn reset_reason(&mut self) -> ResetReason {
        self.reason
    }

    fn take_fault(&mut self, into: &mut [u8]) -> usize {
        let fault = self.hardware.fault.borrow_mut().take().unwrap_or_default();
        let len = fault.floor_char_boundary(into.len());
        into[..len].copy_from_slice(&fault.as_bytes()[..len]);
        len
    }

    fn note(&mut self, note: &Note) {
        let text = format!("{note:?}");
        let end = text.find([' ', '(', '{']).unwrap_or(text.len());
        let (name, details) = text.split_at(end);
        let details = details.trim().to_owned();
        self.say
            .event("note", &[("note", name.to_owned()), ("details", details)]);
    }
}
