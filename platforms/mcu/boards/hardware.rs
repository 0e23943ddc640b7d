//! What the agent needs of a virtual board beside its flash and network.
//!
//! The boards differ in where randomness comes from, and in what resets them.

use core::sync::atomic::{AtomicBool, Ordering};

use lightship_core::Note;
use lightship_mcu::agent::{Board, NoEntropy, ResetReason};
use lightship_mcu::last_words::LastWords;

use crate::random::{self, Source};
use crate::{Cause, layout, power, watchdog};

/// The watchdog bites after so long without being fed; the agent feeds it twice a second.
pub const PATIENCE_MS: u32 = 10_000;

/// What is being logged is for the port: it comes too often for the fleet.
static PORT_ALONE: AtomicBool = AtomicBool::new(false);

/// Whether what is being logged is for the fleet too.
pub fn is_for_the_fleet() -> bool {
    !PORT_ALONE.load(Ordering::Relaxed)
}

/// The board, as the agent sees it.
pub struct Hardware {
    random: Source,
    last_words: Option<LastWords>,
    /// The most stack that was told of.
    stack: usize,
}

impl Hardware {
    /// The board, with its random source.
    pub fn new(random: Source) -> Self {
        let last_words = power::last_words();
        if let Some(words) = &last_words {
            defmt::println!("the last life ended: {=str}", words.text());
        }
        Self {
            random,
            last_words,
            stack: 0,
        }
    }
}

impl Board for Hardware {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        random::fill(&mut self.random, bytes)
    }

    fn reset(&mut self) {
        power::reset_because(&LastWords::new(Cause::Asked).and("by the agent"))
    }

    fn feed(&mut self) {
        watchdog::feed(PATIENCE_MS);
    }

    fn fetched(&mut self, bytes: u64) {
        PORT_ALONE.store(true, Ordering::Relaxed);
        defmt::println!("fetched {=u64}", bytes);
        PORT_ALONE.store(false, Ordering::Relaxed);
    }

    fn reset_reason(&mut self) -> ResetReason {
        match self.last_words.as_ref().map(|words| words.cause) {
            None => ResetReason::Power,
            Some(Cause::Asked) => ResetReason::Asked,
            Some(Cause::Watchdog) => ResetReason::Watchdog,
            Some(Cause::Panic | Cause::Fault) => ResetReason::Fault,
        }
    }

    fn take_fault(&mut self, into: &mut [u8]) -> usize {
        let words = self.last_words.take();
        words.map_or(0, |words| words.copy_to(into))
    }

    fn note(&mut self, note: &Note) {
        defmt::info!("{}", note);
        let used = layout::stack().used();
        if used > self.stack {
            self.stack = used;
            defmt::println!("stack {=usize}", used);
        }
    }
}
