//! How the machine starts again, and why it did.

pub use lightship_bootloader::last_words::LastWords;

use crate::layout;

/// The SiFive test finisher.
const FINISHER: *mut u32 = 0x10_0000 as *mut u32;
const RESET: u32 = 0x7777;

/// Resets the machine; RAM keeps what it holds.
pub fn reset() -> ! {
    // SAFETY: the register exists on this machine, and the write does not return to us.
    unsafe { FINISHER.write_volatile(RESET) };
    idle()
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
    // SAFETY: the processor refuses this instruction, and nothing comes after it.
    unsafe { core::arch::asm!("unimp", options(noreturn)) }
}

/// Waits for ever.
pub fn idle() -> ! {
    loop {
        // SAFETY: waiting for an interrupt changes nothing.
        unsafe { core::arch::asm!("wfi") };
    }
}
