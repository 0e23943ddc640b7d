//! The end of a bootloader.

use lightship_image::{Entry, Header};

/// Starts the image.
///
/// # Safety
///
/// The body lies at its load address and was judged, and no interrupt is enabled.
pub unsafe fn to(header: &Header) -> ! {
    // SAFETY: the entry was judged to lie inside the body, and to be what its kind says.
    match header.kind {
        Entry::VectorTable => unsafe { to_vector_table(header.entry) },
        Entry::Jump => unsafe { to_code(header.entry) },
    }
}

#[cfg(target_arch = "arm")]
unsafe fn to_vector_table(table: u32) -> ! {
    // SAFETY: the caller of `to` promised that the table was judged; nothing else uses the SCB now.
    unsafe {
        (*cortex_m::peripheral::SCB::PTR).vtor.write(table);
        cortex_m::asm::dsb();
        cortex_m::asm::isb();
        cortex_m::asm::bootload(table as *const u32)
    }
}

#[cfg(target_arch = "arm")]
unsafe fn to_code(entry: u32) -> ! {
    // SAFETY: the caller of `to` promised that there is code; bit 0 says that it is Thumb.
    unsafe {
        let code: extern "C" fn() -> ! = core::mem::transmute((entry | 1) as usize);
        code()
    }
}

#[cfg(target_arch = "riscv32")]
unsafe fn to_vector_table(table: u32) -> ! {
    // A RISC-V has no such table; the first word of one is no code either, so this ends in a trap.
    unsafe { to_code(table) }
}

#[cfg(target_arch = "riscv32")]
unsafe fn to_code(entry: u32) -> ! {
    // SAFETY: the caller of `to` promised that there is code. `fence.i` makes what was written as
    // data visible as instructions; `a0` is the hart's number, as at reset.
    unsafe {
        core::arch::asm!(
            "fence.i",
            "csrw mie, zero",
            "jr {entry}",
            entry = in(reg) entry,
            in("a0") 0,
            options(noreturn)
        )
    }
}
