//! Where everything lies on this board, and what it accepts.

use crate::cfi_flash::{Bank, SECTOR};
use core::cell::RefCell;
use lightship_bootloader::ram::{Epitaph, Mailbox};
use lightship_bootloader::stack::Stack;
use lightship_image::check::{Place, Span};
use lightship_mcu::Device;
use lightship_mcu::flash::{Shared, Window};

/// A partition of the second bank.
pub type Partition<'a> = Window<Shared<'a, Bank>>;

/// Bytes of the largest image, header included.
pub const SLOT_LEN: u32 = 0x10_0000;

/// The agent's records, two units, after those of the slots.
const AGENT: u32 = 0x8_0000;
/// What the device is told in the factory, one unit.
const CONFIGURATION: u32 = 0x30_0000;
const SLOTS: [u32; 2] = [0x10_0000, 0x20_0000];
const SPARE: u32 = 0x100_0000;

/// RAM that images run from.
const IMAGE: Span = Span {
    start: 0x8004_0000,
    len: 0xC_0000,
};
/// RAM that both the bootloader and the images use for their variables.
const VARIABLES: Span = Span {
    start: 0x8000_0200,
    len: 0x3_FE00,
};
/// The RAM's first 512 bytes survive a reset: no memory map has them.
const MAILBOX: usize = 0x8000_0000;
const LAST_WORDS: usize = 0x8000_0100;

/// The second bank: the first holds the bootloader.
///
/// # Safety
///
/// Nothing else uses the bank while this exists, and no code runs from it.
pub unsafe fn bank() -> Bank {
    // SAFETY: passed on to our caller.
    unsafe { Bank::at(0x2200_0000) }
}

/// The records.
pub fn records(bank: &RefCell<Bank>) -> Partition<'_> {
    Window::new(Shared(bank), 0, 2 * SECTOR as u32)
}

/// The two slots.
pub fn slots(bank: &RefCell<Bank>) -> [Partition<'_>; 2] {
    SLOTS.map(|start| Window::new(Shared(bank), start, SLOT_LEN))
}

/// The agent's records.
pub fn agent_records(bank: &RefCell<Bank>) -> Partition<'_> {
    Window::new(Shared(bank), AGENT, 2 * SECTOR as u32)
}

/// What the device is told in the factory.
pub fn configuration(bank: &RefCell<Bank>) -> Partition<'_> {
    Window::new(Shared(bank), CONFIGURATION, SECTOR as u32)
}

/// Flash that neither records nor slots use; the power-cut test delivers images in it.
pub fn spare(bank: &RefCell<Bank>) -> Partition<'_> {
    Window::new(Shared(bank), SPARE, SLOT_LEN)
}

/// What this board accepts.
pub fn device() -> Device<'static> {
    Device {
        keys: &KEYS,
        board: "riscv-virt",
        device_type: "virtual",
        places: [Place::Within(IMAGE); 2],
        stack: VARIABLES,
    }
}

/// The release key that virtual boards trust; its private half is in the tests, so no product may.
const KEYS: [[u8; 32]; 1] = [*include_bytes!("../../virtual-release-key.pub")];

/// Where the bootloader leaves its word.
pub fn mailbox() -> Mailbox {
    // SAFETY: no memory map has the first 512 bytes of the RAM; these are the first 16 of them.
    unsafe { Mailbox::at(MAILBOX) }
}

/// Where a firmware says why it ended.
pub fn last_words() -> Epitaph {
    // SAFETY: as above; these are the last 256 of them.
    unsafe { Epitaph::at(LAST_WORDS) }
}

/// The stack of an image.
pub fn stack() -> Stack {
    unsafe extern "C" {
        static __estack: u8;
    }
    let top = (VARIABLES.start + VARIABLES.len) as usize;
    // SAFETY: the linker gives the stack what the variables leave, up to the end of the RAM.
    unsafe { Stack::between(&raw const __estack as usize, top) }
}
