//! Why a firmware ended: word of it is left in RAM, and the chip starts again.

use cortex_m::peripheral::SCB;
pub use lightship_bootloader::last_words::{Cause, LastWords};

use crate::layout;

/// Resets the chip; RAM keeps what it holds.
pub fn reset() -> ! {
    SCB::sys_reset()
}

/// Leaves word of why, then resets the chip.
pub fn reset_because(words: &LastWords) -> ! {
    layout::last_words().leave(words);
    reset()
}

/// What the firmware before the reset left; nothing if the power was off.
pub fn last_words() -> Option<LastWords> {
    layout::last_words().take()
}

/// Defines the panic and fault handlers of an image; a bootloader has neither.
#[macro_export]
macro_rules! faults {
    () => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::layout::last_words().leave_panic(info);
            $crate::power::reset()
        }

        #[cortex_m_rt::exception]
        unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
            let words = $crate::power::LastWords::fault(frame.pc(), frame.lr());
            $crate::power::reset_because(&words)
        }
    };
}
