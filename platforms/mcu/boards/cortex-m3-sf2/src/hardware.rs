//! What the agent needs of the board beside its flash and network.

use core::fmt::Write;
use lightship_core::Note;
use lightship_mcu::agent::{Board, NoEntropy, ResetReason};
use lightship_mcu::last_words::LastWords;
use lightship_mcu::seed::Seed;

use crate::uart::Uart;
use crate::{Cause, layout, power, watchdog};

/// The watchdog bites after so long without being fed; the agent feeds it twice a second.
pub const PATIENCE_MS: u32 = 10_000;

/// The board, as the agent sees it.
pub struct Hardware {
    random: Seed,
    last_words: Option<LastWords>,
    /// The most stack that was told of.
    stack: usize,
}

impl Hardware {
    /// The board, with its random source.
    pub fn new(random: Seed) -> Self {
        let last_words = power::last_words();
        Self {
            random,
            last_words,
            stack: 0,
        }
    }
}

impl Board for Hardware {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.random.fill(bytes);
        Ok(())
    }

    fn reset(&mut self) {
        power::reset_because(Cause::Asked, format_args!("by the agent"))
    }

    fn feed(&mut self) {
        watchdog::feed(PATIENCE_MS);
    }

    fn fetched(&mut self, bytes: u64) {
        let _ = writeln!(Uart, "fetched {bytes}");
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
        // A port that cannot take a line does not stop the agent.
        let _ = writeln!(Uart, "{note:?}");
        let used = layout::stack().used();
        if used > self.stack {
            self.stack = used;
            let _ = writeln!(Uart, "stack {used}");
        }
    }
}
