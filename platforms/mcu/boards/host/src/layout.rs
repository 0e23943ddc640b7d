//! What lies where in the flash.

use std::cell::RefCell;

use lightship_image::check::Span;
use lightship_mcu::flash::{Shared, Window};

use crate::file_flash::{FileFlash, SECTOR};

/// A part of the flash.
pub(crate) type Partition<'f> = Window<Shared<'f, FileFlash>>;

/// What stands for the bootloader: the board's name and the keys that it trusts, written by the factory alone.
pub(crate) const BOOTLOADER: (u32, u32) = (0, SECTOR);
/// The bootloader's records.
pub(crate) const BOOT_RECORDS: (u32, u32) = (SECTOR, 2 * SECTOR);
/// The agent's records.
pub(crate) const RECORDS: (u32, u32) = (3 * SECTOR, 4 * SECTOR);
/// The device's configuration.
pub(crate) const CONFIG: (u32, u32) = (7 * SECTOR, SECTOR);
/// The two slots.
pub(crate) const SLOTS: [(u32, u32); 2] =
    [(8 * SECTOR, SLOT_LEN), (8 * SECTOR + SLOT_LEN, SLOT_LEN)];
/// The whole flash.
pub(crate) const FLASH_LEN: u32 = 8 * SECTOR + 2 * SLOT_LEN;
/// One slot.
pub(crate) const SLOT_LEN: u32 = 1 << 20;

/// A process has no such addresses; images are linked for them all the same.
pub(crate) const RAM: Span = Span {
    start: 0x8002_0000,
    len: SLOT_LEN,
};

/// A partition of the flash.
pub(crate) fn part(flash: &RefCell<FileFlash>, (start, len): (u32, u32)) -> Partition<'_> {
    Window::new(Shared(flash), start, len)
}
