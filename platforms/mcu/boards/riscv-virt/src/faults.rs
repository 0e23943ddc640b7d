//! Panics and traps of an image: word of them is left, and the machine starts again.
//!
//! They are in a macro because a bootloader has neither.

use crate::power::LastWords;

/// Defines the panic and trap handlers of an image.
#[macro_export]
macro_rules! faults {
    () => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::layout::last_words().leave_panic(info);
            $crate::power::reset()
        }

        #[unsafe(export_name = "ExceptionHandler")]
        fn exception(frame: &riscv_rt::TrapFrame) -> ! {
            $crate::faults::report(frame.ra)
        }
    };
}

/// Leaves word of the exception that the processor is in, and of where the function that it is in goes back to.
pub fn report(back: usize) -> ! {
    let (cause, at, value) = (
        riscv::register::mcause::read().code(),
        riscv::register::mepc::read(),
        riscv::register::mtval::read(),
    );
    let words = LastWords::fault(at as u32, back as u32);
    let words = words.and("; exception ").word(cause as u32);
    crate::power::reset_because(&words.and(", value ").word(value as u32))
}
