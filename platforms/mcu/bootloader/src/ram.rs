//! RAM that the bootloader and the image share.

use core::fmt::Write;
use core::panic::PanicInfo;
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_image::check::Accept;
use lightship_image::{HEADER_LEN, Header, Reject};
use lightship_mcu::boot::Reset;
use lightship_mcu::last_words::{Cause, LastWords, PLACE_LEN};
use lightship_mcu::limits::CHUNK;
use lightship_mcu::{Device, Handoff, Slot};

/// The place in RAM where the handoff lies: three words that no program's own memory overlaps.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox(*mut [u32; 3]);

impl Mailbox {
    /// The handoff at an address.
    ///
    /// # Safety
    ///
    /// The twelve bytes at the address are RAM, aligned to four bytes, and nothing else uses them.
    pub const unsafe fn at(address: usize) -> Self {
        Self(address as *mut [u32; 3])
    }

    /// What was left there.
    pub fn read(self) -> Option<Handoff> {
        // SAFETY: `at` was promised that this is RAM of ours.
        Handoff::from_words(unsafe { self.0.read_volatile() })
    }

    /// Leaves a handoff.
    pub fn write(self, handoff: Handoff) {
        // SAFETY: `at` was promised that this is RAM of ours.
        unsafe { self.0.write_volatile(handoff.to_words()) }
    }

    /// Why the device starts, where the hardware does not say: RAM survives a reset, and a handoff
    /// in it was left by the start before.
    pub fn reset(self) -> Reset {
        match self.read() {
            Some(_) => Reset::Running,
            None => Reset::Power,
        }
    }
}

/// Copies the body of an image that was judged to where it runs, and judges the copy.
///
/// # Errors
///
/// If the flash cannot be read, or the copy is not what was signed.
///
/// # Safety
///
/// The place that `device` gives to `slot` is RAM that nothing else uses, so that the header, which
/// was judged for that place, names such RAM.
pub unsafe fn load<F: ReadNorFlash>(
    flash: &mut F,
    device: &Device<'_>,
    slot: Slot,
    header: &Header,
) -> Result<(), Reject> {
    // SAFETY: see above; the header's load address and size lie inside that place.
    let body = unsafe {
        core::slice::from_raw_parts_mut(header.load as usize as *mut u8, header.size as usize)
    };
    // A flash may read in words only; the last one is cut.
    for (number, part) in body.chunks_mut(CHUNK).enumerate() {
        let mut chunk = [0; CHUNK];
        let start = (HEADER_LEN + number * CHUNK) as u32;
        let words = part.len().next_multiple_of(F::READ_SIZE);
        flash
            .read(start, &mut chunk[..words])
            .map_err(|_| Reject::Unreadable)?;
        part.copy_from_slice(&chunk[..part.len()]);
    }
    let accept: Accept<'_> = device.accept(slot, 0, u32::MAX);
    let mut copy = accept.body(header);
    copy.update(body);
    copy.finish()
}

/// The RAM in which last words are left.
#[derive(Clone, Copy, Debug)]
pub struct Epitaph(*mut [u8; PLACE_LEN]);

impl Epitaph {
    /// The place at an address.
    ///
    /// # Safety
    ///
    /// [`PLACE_LEN`] bytes at the address are RAM that nothing else uses.
    pub const unsafe fn at(address: usize) -> Self {
        Self(address as *mut [u8; PLACE_LEN])
    }

    /// Leaves words, in place of any that are there.
    pub fn leave(self, words: &LastWords) {
        self.write(&words.to_bytes());
    }

    fn write(self, place: &[u8; PLACE_LEN]) {
        for (at, byte) in place.iter().enumerate() {
            // SAFETY: `at` was promised that this is RAM of ours.
            unsafe { self.0.cast::<u8>().add(at).write_volatile(*byte) }
        }
    }

    /// Leaves what a panic says, on one line.
    pub fn leave_panic(self, info: &PanicInfo<'_>) {
        let mut words = LastWords::new(Cause::Panic);
        // It takes any text.
        let _ = match info.location() {
            Some(place) => write!(words, "{} ({place})", info.message()),
            None => write!(words, "{}", info.message()),
        };
        self.leave(&words);
    }

    /// Takes the words away.
    pub fn take(self) -> Option<LastWords> {
        let mut place = [0; PLACE_LEN];
        for (at, byte) in place.iter_mut().enumerate() {
            // SAFETY: `at` was promised that this is RAM of ours.
            *byte = unsafe { self.0.cast::<u8>().add(at).read_volatile() };
        }
        self.write(&[0; PLACE_LEN]);
        LastWords::from_bytes(&place)
    }
}
