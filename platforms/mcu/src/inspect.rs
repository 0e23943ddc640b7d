//! An image in flash, judged as it lies there.

use crate::Slot;
use crate::limits::CHUNK;
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_core::hash::Sha256;
use lightship_image::check::{Accept, Ed25519, Place, Span};
use lightship_image::{HEADER_LEN, Header, HeaderBytes, Reject};

/// What is known of an image.
pub type Verdict = Result<Header, Reject>;

/// What a board and its product are; the same in the bootloader and in the application.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// The release keys.
    pub keys: &'a [[u8; 32]],
    /// The board's name.
    pub board: &'a str,
    /// The product's name.
    pub device_type: &'a str,
    /// Where the image of slot A runs, and that of slot B.
    pub places: [Place; 2],
    /// RAM in which an initial stack pointer may lie.
    pub stack: Span,
}

impl Device<'_> {
    /// Judges the image at the start of a partition, as one that would run from `slot`.
    ///
    /// `fed` is called between reads, for a watchdog.
    ///
    /// # Errors
    ///
    /// The first reason found to refuse it.
    pub fn inspect<F: ReadNorFlash>(
        &self,
        flash: &mut F,
        slot: Slot,
        floor: u32,
        ed25519: &impl Ed25519,
        fed: &mut dyn FnMut(),
    ) -> Verdict {
        let capacity = flash.capacity() as u32;
        let accept = self.accept(slot, floor, capacity);
        judge(&accept, &mut reader(flash), F::READ_SIZE, ed25519, fed)
    }

    /// What is accepted in a slot of `capacity` bytes.
    pub fn accept(&self, slot: Slot, floor: u32, capacity: u32) -> Accept<'_> {
        let [a, b] = self.places;
        Accept {
            keys: self.keys,
            board: self.board,
            device_type: self.device_type,
            floor,
            capacity,
            place: match slot {
                Slot::A => a,
                Slot::B => b,
            },
            stack: self.stack,
        }
    }
}

/// Reads a flash of any kind: so that one copy of the code judges every slot.
type Read<'a> = dyn FnMut(u32, &mut [u8]) -> Result<(), Reject> + 'a;

fn reader<F: ReadNorFlash>(
    flash: &mut F,
) -> impl FnMut(u32, &mut [u8]) -> Result<(), Reject> + use<'_, F> {
    const { assert!(CHUNK.is_multiple_of(F::READ_SIZE) && HEADER_LEN.is_multiple_of(F::READ_SIZE)) };
    |offset, bytes| flash.read(offset, bytes).map_err(|_| Reject::Unreadable)
}

fn judge(
    accept: &Accept<'_>,
    read: &mut Read<'_>,
    word: usize,
    ed25519: &impl Ed25519,
    fed: &mut dyn FnMut(),
) -> Verdict {
    let header = accept.header(ed25519, &read_header(read)?)?;
    fed();
    let mut body = accept.body(&header);
    each_chunk(read, word, HEADER_LEN as u32, header.size, &mut |bytes| {
        body.update(bytes);
        fed();
    })?;
    body.finish()?;
    Ok(header)
}

/// The header of an image that was judged before.
pub(crate) fn header_of<F: ReadNorFlash>(flash: &mut F) -> Verdict {
    let bytes = read_header(&mut reader(flash))?;
    Header::decode(lightship_image::signed_part(&bytes).0)
}

/// SHA-256 of the first `size` bytes.
pub(crate) fn digest_of<F: ReadNorFlash>(flash: &mut F, size: u32) -> Result<[u8; 32], Reject> {
    let mut hash = Sha256::new();
    each_chunk(&mut reader(flash), F::READ_SIZE, 0, size, &mut |bytes| {
        hash.update(bytes)
    })?;
    Ok(hash.finish())
}

fn read_header(read: &mut Read<'_>) -> Result<HeaderBytes, Reject> {
    let mut bytes = [0; HEADER_LEN];
    read(0, &mut bytes)?;
    Ok(bytes)
}

/// Reads whole words of the flash; what is past the end is not passed on.
fn each_chunk(
    read: &mut Read<'_>,
    word: usize,
    start: u32,
    size: u32,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), Reject> {
    let mut chunk = [0; CHUNK];
    for done in (0..size).step_by(CHUNK) {
        let wanted = (size - done).min(CHUNK as u32) as usize;
        let bytes = &mut chunk[..wanted.next_multiple_of(word)];
        read(start + done, bytes)?;
        take(&bytes[..wanted]);
    }
    Ok(())
}
