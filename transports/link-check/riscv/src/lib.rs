//! What all weighed programs have: a panic handler. There is no global allocator: if a transport wanted one, nothing here would link.
#![no_std]

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
