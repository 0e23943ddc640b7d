//! The interrupts that images use. The bootloader uses none, so the table is a macro.

#[cfg(feature = "firmware")]
use cortex_m::peripheral::NVIC;

/// Entries of the table: up to the timer's.
#[cfg(feature = "firmware")]
pub const COUNT: usize = 16;

/// An entry.
#[cfg(feature = "firmware")]
#[derive(Clone, Copy)]
pub union Vector {
    /// What handles the interrupt.
    pub handler: extern "C" fn(),
    /// Nobody enables it.
    pub none: usize,
}

// SAFETY: the table is read alone.
#[cfg(feature = "firmware")]
unsafe impl Sync for Vector {}

/// Lets a device's interrupt through.
#[cfg(feature = "firmware")]
pub(crate) fn enable(number: u32) {
    // SAFETY: the handlers' data is behind critical sections or atomic.
    unsafe { (*NVIC::PTR).iser[0].write(1 << number) }
}

/// Lets the network's interrupt through; the clock's is let through when it starts.
#[cfg(feature = "firmware")]
pub fn start() {
    enable(crate::network::INTERRUPT);
}

/// The table of an image.
#[cfg(feature = "firmware")]
pub const fn table() -> [Vector; COUNT] {
    let mut table = [Vector { none: 0 }; COUNT];
    table[crate::network::INTERRUPT as usize] = Vector {
        handler: crate::network::interrupt,
    };
    table[crate::clock::INTERRUPT as usize] = Vector {
        handler: crate::clock::alarm,
    };
    table
}

/// The table of a program without interrupts; the linker wants at least one.
#[macro_export]
macro_rules! no_interrupts {
    () => {
        #[unsafe(link_section = ".vector_table.interrupts")]
        #[unsafe(no_mangle)]
        #[used]
        static __INTERRUPTS: [usize; 1] = [0];
    };
}

/// What an image defines for the processor: interrupts, faults and panics.
#[cfg(feature = "firmware")]
#[macro_export]
macro_rules! handlers {
    () => {
        #[unsafe(link_section = ".vector_table.interrupts")]
        #[unsafe(no_mangle)]
        #[used]
        static __INTERRUPTS: [$crate::interrupts::Vector; $crate::interrupts::COUNT] =
            $crate::interrupts::table();

        #[cortex_m_rt::exception]
        fn SysTick() {
            $crate::clock::turned()
        }

        #[cortex_m_rt::exception]
        unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
            let words = $crate::power::LastWords::fault(frame.pc(), frame.lr());
            $crate::power::reset_because(&words)
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::layout::last_words().leave_panic(info);
            $crate::power::reset()
        }
    };
}
