//! An image in flash, judged as it lies there.

use crate::Slot;
use crate::limits::CHUNK;
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_image::check::{Accept, Body, Ed25519, Place, Span};
use lightship_image::{HEADER_LEN, Header, HeaderBytes, Reject};
use sha2::{Digest, Sha256};

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
        let accept = self.accept(slot, floor, flash.capacity() as u32);
        let header = accept.header(ed25519, &read_header(flash)?)?;
        fed();
        let mut body = accept.body(&header);
        each_chunk(flash, HEADER_LEN as u32, header.size, |bytes| {
            Body::update(&mut body, bytes);
            fed();
        })?;
        body.finish()?;
        Ok(header)
    }

    fn accept(&self, slot: Slot, floor: u32, capacity: u32) -> Accept<'_> {
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

/// The header of an image that was judged before.
pub(crate) fn header_of<F: ReadNorFlash>(flash: &mut F) -> Verdict {
    let bytes = read_header(flash)?;
    Header::decode(lightship_image::signed_part(&bytes).0)
}

/// SHA-256 of the first `size` bytes.
pub(crate) fn digest_of<F: ReadNorFlash>(flash: &mut F, size: u32) -> Result<[u8; 32], Reject> {
    let mut hash = Sha256::new();
    each_chunk(flash, 0, size, |bytes| hash.update(bytes))?;
    Ok(hash.finalize().into())
}

fn read_header<F: ReadNorFlash>(flash: &mut F) -> Result<HeaderBytes, Reject> {
    let mut bytes = [0; HEADER_LEN];
    flash.read(0, &mut bytes).map_err(|_| Reject::Unreadable)?;
    Ok(bytes)
}

/// Reads whole multiples of the flash's read size; what is past the end is not passed on.
fn each_chunk<F: ReadNorFlash>(
    flash: &mut F,
    start: u32,
    size: u32,
    mut take: impl FnMut(&[u8]),
) -> Result<(), Reject> {
    const { assert!(CHUNK.is_multiple_of(F::READ_SIZE) && HEADER_LEN.is_multiple_of(F::READ_SIZE)) };
    let mut chunk = [0; CHUNK];
    for done in (0..size).step_by(CHUNK) {
        let wanted = (size - done).min(CHUNK as u32) as usize;
        let bytes = &mut chunk[..wanted.next_multiple_of(F::READ_SIZE)];
        flash
            .read(start + done, bytes)
            .map_err(|_| Reject::Unreadable)?;
        take(&bytes[..wanted]);
    }
    Ok(())
}
