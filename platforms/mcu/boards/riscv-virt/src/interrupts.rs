//! The PLIC, and what interrupts do here: they wake.

use crate::{network, virtio};

const PRIORITY: usize = 0x0C00_0000;
const ENABLE: *mut u32 = 0x0C00_2000 as *mut u32;
const THRESHOLD: *mut u32 = 0x0C20_0000 as *mut u32;
const CLAIM: *mut u32 = 0x0C20_0004 as *mut u32;

/// Lets interrupts through: the timer's, and those of devices that are enabled.
pub fn start() {
    // SAFETY: the handlers are in place, and their data is behind critical sections.
    unsafe {
        riscv::register::mie::set_mtimer();
        riscv::register::mie::set_mext();
        riscv::interrupt::enable();
    }
}

/// Lets a device's interrupt through.
pub(crate) fn enable(interrupt: u32) {
    critical_section::with(|_| {
        // SAFETY: the first hart's registers of the PLIC, which only this function and the handler use.
        unsafe {
            ((PRIORITY + 4 * interrupt as usize) as *mut u32).write_volatile(1);
            ENABLE.write_volatile(ENABLE.read_volatile() | 1 << interrupt);
            THRESHOLD.write_volatile(0);
        }
    });
}

#[riscv_rt::core_interrupt(riscv::interrupt::Interrupt::MachineExternal)]
fn device() {
    // SAFETY: as in `enable`; a claim is completed once.
    unsafe {
        let interrupt = CLAIM.read_volatile();
        if interrupt != 0 {
            virtio::acknowledge(interrupt);
            network::wake();
            CLAIM.write_volatile(interrupt);
        }
    }
}
