//! How the machine starts again, and why it did.

use core::fmt;
use cortex_m::peripheral::SCB;
use lightship_bootloader::last_words::{Cause, LastWords};

use crate::layout;

/// Resets the machine; RAM keeps what it holds.
pub fn reset() -> ! {
    SCB::sys_reset()
}

/// Leaves word of why, then resets the machine.
pub fn reset_because(cause: Cause, text: fmt::Arguments<'_>) -> ! {
    layout::last_words().leave(cause, text);
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
