//! How the machine starts again, and why it did.

use cortex_m::peripheral::SCB;
pub use lightship_bootloader::last_words::LastWords;

use crate::layout;

/// Resets the machine; RAM keeps what it holds.
pub fn reset() -> ! {
    SCB::sys_reset()
}

/// Leaves word of why, then resets the machine.
pub fn reset_because(words: &LastWords) -> ! {
    layout::last_words().leave(words);
    reset()
}

/// What the firmware before the reset left; nothing if the power was off.
pub fn last_words() -> Option<LastWords> {
    layout::last_words().take()
}

/// Does what the processor refuses.
pub fn fault() -> ! {
    cortex_m::asm::udf()
}
