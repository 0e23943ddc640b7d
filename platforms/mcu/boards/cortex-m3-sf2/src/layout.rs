//! Where everything lies on this board, and what it accepts.

use crate::spi_nor::SpiNor;
use core::cell::RefCell;
use lightship_bootloader::ram::Mailbox;
use lightship_image::check::{Place, Span};
use lightship_mcu::Device;
use lightship_mcu::boot::swap::Pair;
use lightship_mcu::flash::{Shared, Window};

/// A partition of the serial flash.
pub type Partition<'a> = Window<Shared<'a, SpiNor>>;

/// Bytes of the largest image, header included.
pub const SLOT_LEN: u32 = 0x4_0000;

const UNIT: u32 = 0x1_0000;
const FIRST: u32 = 0x10_0000;
const SECOND: u32 = 0x20_0000;
const SPARE: u32 = 0x80_0000;

/// eSRAM that images run from.
const IMAGE: Span = Span {
    start: 0x2000_0400,
    len: 0xBC00,
};
/// eSRAM that both the bootloader and the images use for their variables.
const VARIABLES: Span = Span {
    start: 0x2000_C000,
    len: 0x3FF0,
};

/// The records, and the two partitions whose images change places.
pub fn partitions(flash: &RefCell<SpiNor>) -> (Partition<'_>, Pair<Partition<'_>, Partition<'_>>) {
    let part = |start, len| Window::new(Shared(flash), start, len);
    let (first, second) = (part(FIRST, SLOT_LEN), part(SECOND, SLOT_LEN + UNIT));
    (part(0, 2 * UNIT), Pair { first, second })
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
    // SAFETY: both memory maps leave the last 16 bytes of the eSRAM out.
    unsafe { Mailbox::at(0x2000_FFF0) }
}
