//! An application that keeps itself once it works: a light that blinks, and a confirmed update.

#![no_std]
#![no_main]

use core::cell::RefCell;
use core::panic::PanicInfo;
use cortex_m::peripheral::SCB;
use embassy_rp::flash::Flash;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::watchdog::Watchdog;
use embassy_time::Duration;
use lightship_board_rp2040_template::layout;
use lightship_image::salty::Salty;
use lightship_mcu::Why;
use lightship_mcu::slots::{Slots, Updater};

const PATIENCE: Duration = Duration::from_millis(8_000);
const CYCLES_OF_HALF_A_SECOND: u32 = 62_500_000;

#[cortex_m_rt::entry]
fn main() -> ! {
    let chip = embassy_rp::init(Default::default());
    let Some(handoff) = layout::mailbox().read() else {
        SCB::sys_reset();
    };
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    let flash = RefCell::new(Flash::new_blocking(chip.FLASH));
    let (records, pair) = layout::partitions(&flash);
    let mut slots = Updater::new(records, pair, layout::device(), Salty, handoff);
    let mut light = Output::new(chip.PIN_25, Level::Low);
    // Put your self-test here: what it finds wrong is a reason to revert and reset.
    if slots.report().why == Why::Trial && slots.confirm(0).is_err() {
        SCB::sys_reset();
    }
    loop {
        watchdog.feed(PATIENCE);
        light.toggle();
        cortex_m::asm::delay(CYCLES_OF_HALF_A_SECOND);
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    SCB::sys_reset()
}
