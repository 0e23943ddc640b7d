//! The SiFive test finisher: how a program ends the machine's run.

const FINISHER: *mut u32 = 0x10_0000 as *mut u32;
const RESET: u32 = 0x7777;

/// Resets the machine; RAM keeps what it holds.
pub fn reset() -> ! {
    // SAFETY: the register exists on this machine, and the write does not return to us.
    unsafe { FINISHER.write_volatile(RESET) };
    idle()
}

/// Waits for ever.
pub fn idle() -> ! {
    loop {
        // SAFETY: waiting for an interrupt changes nothing.
        unsafe { core::arch::asm!("wfi") };
    }
}
