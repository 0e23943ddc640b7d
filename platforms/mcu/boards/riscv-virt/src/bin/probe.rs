//! Updates itself from spare flash; see `../../probe.rs`.

#![no_std]
#![no_main]

#[path = "../../../probe.rs"]
mod probe;

use core::cell::RefCell;
use core::panic::PanicInfo;
use lightship_board_riscv_virt::{layout, power, uart::Uart};
use lightship_mcu::CoreCurve;
use lightship_mcu::slots::{Ab, Updater};

#[riscv_rt::entry]
fn main() -> ! {
    // SAFETY: the first and only use of the bank in this program, which runs from RAM.
    let bank = RefCell::new(unsafe { layout::bank() });
    let Some(handoff) = layout::mailbox().read() else {
        power::reset();
    };
    let (records, places) = (layout::records(&bank), Ab(layout::slots(&bank)));
    let mut slots = Updater::new(records, places, layout::device(), CoreCurve, handoff);
    match probe::run(&mut slots, &mut layout::spare(&bank), &mut Uart) {
        probe::Next::Reset => power::reset(),
        probe::Next::Idle => power::idle(),
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    power::reset()
}
