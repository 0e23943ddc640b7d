//! The bootloader: judges, copies to RAM, jumps.

#![no_std]
#![no_main]

use core::cell::RefCell;
use core::panic::PanicInfo;
use lightship_board_riscv_virt::{layout, power};
use lightship_bootloader::{CoreCurve, jump, ram};
use lightship_image::Header;
use lightship_mcu::boot::{Boot, ab};
use lightship_mcu::{Handoff, RecordLog, Slot};

#[riscv_rt::entry]
fn main() -> ! {
    match boot() {
        Some((handoff, header)) => {
            layout::mailbox().write(handoff);
            // SAFETY: the body was copied and judged; no interrupt was enabled.
            unsafe { jump::to(&header) }
        }
        // No image can run now: the next start tries again, and a person can bring one.
        None => power::reset(),
    }
}

fn boot() -> Option<(Handoff, Header)> {
    // SAFETY: the first and only use of the bank in this program, which runs from the other one.
    let bank = RefCell::new(unsafe { layout::bank() });
    let (device, reset) = (layout::device(), layout::mailbox().reset());
    let mut slots = layout::slots(&bank);
    let mut log = RecordLog::open(layout::records(&bank));
    // QEMU models no watchdog here: there is nothing to feed.
    let Boot::Run { handoff, header } =
        ab::boot(&mut log, &mut slots, &device, &CoreCurve, reset, &mut || ())
    else {
        return None;
    };
    let [a, b] = &mut slots;
    let slot = match handoff.slot {
        Slot::A => a,
        Slot::B => b,
    };
    // SAFETY: the place is RAM that this program's memory map leaves out.
    unsafe { ram::load(slot, &device, handoff.slot, &header) }.ok()?;
    Some((handoff, header))
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    power::reset()
}
