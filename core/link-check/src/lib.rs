//! What the weighed programs share: a panic handler, and a way to see how deep the stack went.
//!
//! There is no global allocator: if the core wanted one, nothing here would link.
#![no_std]

use core::panic::PanicInfo;

pub mod device;
#[cfg(feature = "measure")]
mod measure;
#[cfg(target_arch = "arm")]
mod memory;
pub mod received;

/// Runs `program` and ends; with the feature `measure` says over semihosting how many bytes of stack it took.
pub fn run(program: impl FnOnce() -> bool) -> ! {
    #[cfg(feature = "measure")]
    measure::run(program);
    #[cfg(not(feature = "measure"))]
    {
        core::hint::black_box(program());
        halt()
    }
}

#[panic_handler]
fn panicked(_: &PanicInfo) -> ! {
    #[cfg(feature = "measure")]
    measure::end(false);
    #[cfg(not(feature = "measure"))]
    halt()
}

#[cfg(not(feature = "measure"))]
fn halt() -> ! {
    loop {
        core::hint::spin_loop();
    }
}
