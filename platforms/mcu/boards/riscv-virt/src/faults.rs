//! Panics and traps of an image: word of them is left, and the machine starts again.
//!
//! They are in a macro because a bootloader has neither.

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
        fn exception(_: &riscv_rt::TrapFrame) -> ! {
            $crate::faults::report()
        }
    };
}

/// Leaves word of the exception that the processor is in.
pub fn report() -> ! {
    let (cause, at, value) = (
        riscv::register::mcause::read().code(),
        riscv::register::mepc::read(),
        riscv::register::mtval::read(),
    );
    crate::power::reset_because(
        crate::Cause::Fault,
        format_args!("exception {cause} at {at:#010x}, value {value:#010x}"),
    )
}
