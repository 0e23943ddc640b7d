//! The bootloader: judges, swaps, jumps into the slot.

#![no_std]
#![no_main]

use core::cell::RefCell;
use core::panic::PanicInfo;
use cortex_m::peripheral::SCB;
use embassy_rp::Peripherals;
use embassy_rp::flash::Flash;
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_time::Duration;
use lightship_board_rp2040_template::layout;
use lightship_bootloader::{CoreCurve, jump};
use lightship_image::Header;
use lightship_mcu::boot::{Boot, Reset, swap};
use lightship_mcu::{Handoff, RecordLog};

/// The longest that the RP2040's watchdog waits, nearly: a trial that hangs is over after it.
const PATIENCE: Duration = Duration::from_millis(8_000);

#[cortex_m_rt::entry]
fn main() -> ! {
    match boot(embassy_rp::init(Default::default())) {
        Some((handoff, header)) => {
            layout::mailbox().write(handoff);
            // SAFETY: the body lies in its slot and was judged; no interrupt was enabled.
            unsafe { jump::to(&header) }
        }
        None => SCB::sys_reset(),
    }
}

fn boot(chip: Peripherals) -> Option<(Handoff, Header)> {
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    let reset = match watchdog.reset_reason() {
        Some(ResetReason::Forced | ResetReason::TimedOut) => Reset::Running,
        None => layout::mailbox().reset(),
    };
    let flash = RefCell::new(Flash::new_blocking(chip.FLASH));
    let (records, mut pair) = layout::partitions(&flash);
    let mut log = RecordLog::open(records);
    watchdog.start(PATIENCE);
    let boot = swap::boot(
        &mut log,
        &mut pair,
        &layout::device(),
        &CoreCurve,
        reset,
        &mut || {
            watchdog.feed(PATIENCE);
        },
    );
    // The watchdog goes on running: an image feeds it, or it is reset.
    match boot {
        Boot::Run { handoff, header } => Some((handoff, header)),
        Boot::Stop(_) => None,
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    SCB::sys_reset()
}
