//! Updates itself from spare flash; see `../../probe.rs`.

#![no_std]
#![no_main]

#[path = "../../../probe.rs"]
mod probe;

use core::cell::RefCell;
use core::panic::PanicInfo;
use cortex_m::peripheral::SCB;
use lightship_board_cortex_m3_sf2::{layout, spi_nor::SpiNor, uart::Uart};
use lightship_mcu::CoreCurve;
use lightship_mcu::slots::Updater;

lightship_board_cortex_m3_sf2::no_interrupts!();

#[cortex_m_rt::entry]
fn main() -> ! {
    // SAFETY: the first and only use of the flash in this program.
    let flash = RefCell::new(unsafe { SpiNor::new() });
    let Some(handoff) = layout::mailbox().read() else {
        SCB::sys_reset();
    };
    let (records, pair) = layout::partitions(&flash);
    let mut slots = Updater::new(records, pair, layout::device(), CoreCurve, handoff);
    match probe::run(&mut slots, &mut layout::spare(&flash), &mut Uart) {
        probe::Next::Reset => SCB::sys_reset(),
        probe::Next::Idle => loop {
            cortex_m::asm::wfi();
        },
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    SCB::sys_reset()
}
