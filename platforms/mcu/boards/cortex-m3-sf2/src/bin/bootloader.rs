//! The bootloader: judges, swaps, copies to RAM, jumps.

#![no_std]
#![no_main]

use core::cell::RefCell;
use core::panic::PanicInfo;
use lightship_board_cortex_m3_sf2::{layout, protection, spi_nor::SpiNor};
use lightship_bootloader::{CoreCurve, jump, ram};
use lightship_image::Header;
use lightship_mcu::boot::{Boot, swap};
use lightship_mcu::{Handoff, RecordLog};

lightship_board_cortex_m3_sf2::no_interrupts!();

#[cortex_m_rt::entry]
fn main() -> ! {
    match boot() {
        Some((handoff, header)) => {
            layout::mailbox().write(handoff);
            // SAFETY: the body was copied and judged; no interrupt was enabled, and this program
            // runs from the eNVM.
            unsafe {
                protection::protect(layout::image());
                jump::to(&header)
            }
        }
        // No image can run now: the next start tries again, and a person can bring one.
        None => cortex_m::peripheral::SCB::sys_reset(),
    }
}

fn boot() -> Option<(Handoff, Header)> {
    // SAFETY: the first and only use of the flash in this program.
    let flash = RefCell::new(unsafe { SpiNor::new() });
    let (records, mut pair) = layout::partitions(&flash);
    let (device, reset) = (layout::device(), layout::mailbox().reset());
    let mut log = RecordLog::open(records);
    // QEMU models no watchdog here: there is nothing to feed.
    let Boot::Run { handoff, header } =
        swap::boot(&mut log, &mut pair, &device, &CoreCurve, reset, &mut || ())
    else {
        return None;
    };
    // SAFETY: the place is DDR memory, of which this program uses nothing.
    unsafe { ram::load(&mut pair.first, &device, handoff.slot, &header) }.ok()?;
    Some((handoff, header))
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
