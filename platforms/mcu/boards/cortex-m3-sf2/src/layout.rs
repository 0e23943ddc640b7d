//! Where everything lies on this board, and what it accepts.

use crate::spi_nor::SpiNor;
use core::cell::RefCell;
use lightship_bootloader::ram::{Epitaph, Mailbox};
use lightship_bootloader::stack::Stack;
use lightship_image::check::{Place, Span};
use lightship_mcu::Device;
use lightship_mcu::boot::swap::Pair;
use lightship_mcu::flash::{Shared, Window};

/// A partition of the serial flash.
pub type Partition<'a> = Window<Shared<'a, SpiNor>>;

/// Bytes of the largest image, header included.
pub const SLOT_LEN: u32 = 0x8_0000;

const UNIT: u32 = 0x1_0000;
/// The agent's records, two units.
const AGENT: u32 = 0x2_0000;
/// What the device is told in the factory, one unit.
const CONFIGURATION: u32 = 0x4_0000;
/// The secret that randomness is made of, two units.
const SEED: u32 = 0x6_0000;
const FIRST: u32 = 0x10_0000;
const SECOND: u32 = 0x20_0000;
const SPARE: u32 = 0x80_0000;

/// DDR memory that images run from.
const IMAGE: Span = Span {
    start: 0xA000_0000,
    len: SLOT_LEN,
};
/// eSRAM that both the bootloader and the images use for their variables.
const VARIABLES: Span = Span {
    start: 0x2000_0000,
    len: 0xFE00,
};
/// The eSRAM's last 512 bytes survive a reset: no memory map has them.
const LAST_WORDS: usize = 0x2000_FE00;
const MAILBOX: usize = 0x2000_FFF0;

/// The records, and the two partitions whose images change places.
pub fn partitions(flash: &RefCell<SpiNor>) -> (Partition<'_>, Pair<Partition<'_>, Partition<'_>>) {
    let part = |start, len| Window::new(Shared(flash), start, len);
    let (first, second) = (part(FIRST, SLOT_LEN), part(SECOND, SLOT_LEN + UNIT));
    (part(0, 2 * UNIT), Pair { first, second })
}

/// The agent's records.
pub fn agent_records(flash: &RefCell<SpiNor>) -> Partition<'_> {
    Window::new(Shared(flash), AGENT, 2 * UNIT)
}

/// What the device is told in the factory.
pub fn configuration(flash: &RefCell<SpiNor>) -> Partition<'_> {
    Window::new(Shared(flash), CONFIGURATION, UNIT)
}

/// The secret that randomness is made of.
pub fn seed(flash: &RefCell<SpiNor>) -> Partition<'_> {
    Window::new(Shared(flash), SEED, 2 * UNIT)
}

/// Flash that neither records nor slots use; the power-cut test delivers images in it.
pub fn spare(flash: &RefCell<SpiNor>) -> Partition<'_> {
    Window::new(Shared(flash), SPARE, SLOT_LEN)
}

/// What this board accepts.
pub fn device() -> Device<'static> {
    Device {
        keys: &KEYS,
        board: "cortex-m3-sf2",
        device_type: "virtual",
        places: [Place::Within(IMAGE); 2],
        stack: VARIABLES,
    }
}

/// The release key that virtual boards trust; its private half is in the tests, so no product may.
const KEYS: [[u8; 32]; 1] = [*include_bytes!("../../virtual-release-key.pub")];

/// Where the bootloader leaves its word.
pub fn mailbox() -> Mailbox {
    // SAFETY: no memory map has the last 512 bytes of the eSRAM; these are the last 16 of them.
    unsafe { Mailbox::at(MAILBOX) }
}

/// Where a firmware says why it ended.
pub fn last_words() -> Epitaph {
    // SAFETY: as above; these are the first 256 of them.
    unsafe { Epitaph::at(LAST_WORDS) }
}

/// The stack of an image.
pub fn stack() -> Stack {
    unsafe extern "C" {
        static _stack_end: u8;
    }
    let top = (VARIABLES.start + VARIABLES.len) as usize;
    // SAFETY: the linker gives the stack what the variables leave, up to the end of the RAM.
    unsafe { Stack::between(&raw const _stack_end as usize, top) }
}

/// The first address of an image.
pub const fn image() -> u32 {
    IMAGE.start
}
