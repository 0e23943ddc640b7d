//! What the agent needs of the board beside its flash and network: randomness, the watchdog, resets.

use core::cell::RefCell;
use embassy_rp::clocks::RoscRng;
use embassy_rp::watchdog::{ResetReason as Watched, Watchdog};
use embassy_time::Duration;
use lightship_mcu::agent::{Board, NoEntropy, ResetReason};
use lightship_mcu::last_words::LastWords;
use lightship_mcu::seed::{Error, Old, Seed};

use crate::layout::{self, Chip};
use crate::power::{self, Cause};

/// The longest that the RP2040's watchdog waits, nearly; the agent feeds it twice a second.
pub const PATIENCE: Duration = Duration::from_millis(8_000);

/// Bytes of the ring oscillator's jitter that go into this boot's secret.
const NOISE: usize = 256;

/// The board, as the agent sees it.
pub struct Hardware {
    seed: Seed,
    watchdog: Watchdog,
    last_words: Option<LastWords>,
    is_watchdog: bool,
}

impl Hardware {
    /// The board; the watchdog runs since before the bootloader judged the image.
    pub fn new(seed: Seed, watchdog: Watchdog) -> Self {
        let is_watchdog = matches!(watchdog.reset_reason(), Some(Watched::TimedOut));
        Self {
            seed,
            watchdog,
            last_words: power::last_words(),
            is_watchdog,
        }
    }
}

/// This boot's secret.
///
/// The ring oscillator alone is no source to make keys from, as the chip's data sheet says (section 2.17.5): it is added to a secret that the factory wrote.
///
/// # Errors
///
/// If no secret was provisioned, or the next one cannot be stored.
pub fn seed(flash: &RefCell<Chip>) -> Result<Seed, Error> {
    let mut noise = [0; NOISE];
    RoscRng.fill_bytes(&mut noise);
    Seed::open(&mut layout::seed(flash), &noise, Old::Overwritten)
}

/// The network address that was provisioned with the secret.
pub fn address(seed: &Seed) -> [u8; 6] {
    let [a, b, c, d, e, f, ..] = seed.identity();
    [a, b, c, d, e, f]
}

impl Board for Hardware {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.seed.fill(bytes);
        Ok(())
    }

    fn reset(&mut self) {
        power::reset_because(&LastWords::new(Cause::Asked).and("by the agent"))
    }

    fn feed(&mut self) {
        self.watchdog.feed(PATIENCE);
    }

    fn reset_reason(&mut self) -> ResetReason {
        match self.last_words.as_ref().map(|words| words.cause) {
            Some(Cause::Asked) => ResetReason::Asked,
            Some(Cause::Panic | Cause::Fault) => ResetReason::Fault,
            Some(Cause::Watchdog) => ResetReason::Watchdog,
            None if self.is_watchdog => ResetReason::Watchdog,
            None => ResetReason::Power,
        }
    }

    fn take_fault(&mut self, into: &mut [u8]) -> usize {
        let words = self.last_words.take();
        words.map_or(0, |words| words.copy_to(into))
    }

    fn note(&mut self, note: &lightship_core::Note) {
        defmt::info!("{}", note);
    }
}
