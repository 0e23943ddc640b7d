//! Where everything lies on this board, and what it accepts: what a new board changes.

use core::cell::RefCell;
use embassy_rp::flash::{Blocking, ERASE_SIZE, Flash};
use embassy_rp::peripherals::FLASH;
use lightship_bootloader::ram::{Epitaph, Mailbox};
use lightship_image::check::{Place, Span};
use lightship_mcu::Device;
use lightship_mcu::boot::swap::Pair;
use lightship_mcu::flash::{Shared, Window};

/// Bytes of the flash chip.
pub const FLASH_LEN: usize = 2 << 20;

/// The flash: programs on the RP2040 run from it, and embassy's driver moves itself to RAM while
/// it erases and programs.
pub type Chip = Flash<'static, FLASH, Blocking, FLASH_LEN>;

/// A partition of the flash.
pub type Partition<'a> = Window<Shared<'a, Chip>>;

const UNIT: u32 = ERASE_SIZE as u32;
/// Where the flash appears in the address space.
const XIP: u32 = 0x1000_0000;
/// After the bootloader's 64 KB.
const RECORDS: u32 = 0x1_0000;
/// The agent's records, four units.
const AGENT: u32 = 0x1_2000;
/// What the device is told in the factory, one unit.
const CONFIGURATION: u32 = 0x1_6000;
/// The secret that randomness is made of, two units.
const SEED: u32 = 0x1_7000;
const FIRST: u32 = 0x2_0000;
const SLOT_LEN: u32 = 832 << 10;
const SECOND: u32 = FIRST + SLOT_LEN;
const RAM: Span = Span {
    start: 0x2000_0200,
    len: (264 << 10) - 512,
};
/// The RAM's first 512 bytes survive a reset: no memory map has them.
/// Its last ones do not: the chip's own ROM has its stack there, and puts the second stage there.
const LAST_WORDS: usize = 0x2000_0000;
const MAILBOX: usize = 0x2000_01F0;

const _: () = assert!(SEED + 2 * UNIT <= FIRST);
const _: () = assert!(SECOND + SLOT_LEN + UNIT <= FLASH_LEN as u32);

/// The records, and the two partitions whose images change places.
pub fn partitions(flash: &RefCell<Chip>) -> (Partition<'_>, Pair<Partition<'_>, Partition<'_>>) {
    let part = |start, len| Window::new(Shared(flash), start, len);
    let (first, second) = (part(FIRST, SLOT_LEN), part(SECOND, SLOT_LEN + UNIT));
    (part(RECORDS, 2 * UNIT), Pair { first, second })
}

/// The agent's records.
pub fn agent_records(flash: &RefCell<Chip>) -> Partition<'_> {
    Window::new(Shared(flash), AGENT, 4 * UNIT)
}

/// What the device is told in the factory: what `lightship config --format firmware` writes.
pub fn configuration(flash: &RefCell<Chip>) -> Partition<'_> {
    Window::new(Shared(flash), CONFIGURATION, UNIT)
}

/// The secret that randomness is made of: what `lightship_mcu::seed::provision` makes.
pub fn seed(flash: &RefCell<Chip>) -> Partition<'_> {
    Window::new(Shared(flash), SEED, 2 * UNIT)
}

/// What this board accepts.
pub fn device() -> Device<'static> {
    Device {
        keys: &KEYS,
        board: "rp2040-template",
        device_type: "template",
        places: [Place::At(XIP + FIRST); 2],
        stack: RAM,
    }
}

/// Put the public half of your release key here: the private half of this one is in the tests.
const KEYS: [[u8; 32]; 1] = [*include_bytes!("../../virtual-release-key.pub")];

/// Where the bootloader leaves its word.
pub fn mailbox() -> Mailbox {
    // SAFETY: no memory map has the first 512 bytes of the RAM; these are the last 16 of them.
    unsafe { Mailbox::at(MAILBOX) }
}

/// Where a firmware says why it ended.
pub fn last_words() -> Epitaph {
    // SAFETY: as above; these are the first 256 of them.
    unsafe { Epitaph::at(LAST_WORDS) }
}
