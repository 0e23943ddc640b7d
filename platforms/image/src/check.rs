//! Whether a device should run an image.
//!
//! The order is fixed: the signature over the bytes as received, then the header's form, then what
//! the header says, then the body's digest and its vector table as the bytes stream past.
//! It is the same code in the application, before it asks for a trial, and in the bootloader.

use crate::header::has_magic;
use crate::{Entry, HEADER_LEN, Header, HeaderBytes, Reject, signed_part};
use lightship_core::hash::Sha256;

/// Verifies Ed25519 signatures (RFC 8032).
///
/// It is a trait so that a bootloader can bring the implementation that fits its flash.
pub trait Ed25519 {
    /// Whether `signature` is `key`'s over `message`.
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first address.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

/// Where a body may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In place: the slot's header lies at this address and the body right after it.
    At(u32),
    /// Anywhere in this range; the bootloader copies the body there.
    Within(Span),
}

/// What a device accepts.
#[derive(Clone, Copy, Debug)]
pub struct Accept<'a> {
    /// The release keys; any one of them is enough.
    pub keys: &'a [[u8; 32]],
    /// The board this is.
    pub board: &'a str,
    /// The product this is.
    pub device_type: &'a str,
    /// Lowest security version that may run.
    pub floor: u32,
    /// Bytes that the slot holds, header included.
    pub capacity: u32,
    /// Where the body may run.
    pub place: Place,
    /// RAM in which a vector table's initial stack pointer may lie.
    pub stack: Span,
}

/// A body that is being checked as its bytes stream past.
#[derive(Clone, Debug)]
pub struct Body {
    hash: Sha256,
    seen: u32,
    header: Header,
    stack: Span,
    /// The vector table's first two words, filled as they come.
    vectors: [u8; VECTORS],
}

/// Bytes of a vector table that are checked: the stack pointer and the reset handler.
const VECTORS: usize = 8;

/// Alignment of a vector table: the least that any Cortex-M's VTOR takes (Armv7-M ARM, B3.2.5).
const VECTOR_TABLE_ALIGN: u32 = 128;

impl Accept<'_> {
    /// Checks a header.
    ///
    /// # Errors
    ///
    /// The first reason found to refuse it.
    pub fn header(&self, ed25519: &impl Ed25519, bytes: &HeaderBytes) -> Result<Header, Reject> {
        // An erased slot is told from a forged one; nothing is decoded.
        if !has_magic(bytes) {
            return Err(Reject::NoImage);
        }
        let (signed, signature) = signed_part(bytes);
        if !self
            .keys
            .iter()
            .any(|key| ed25519.verify(key, signed, signature))
        {
            return Err(Reject::BadSignature);
        }
        let header = Header::decode(signed)?;
        self.fits(&header)?;
        Ok(header)
    }

    /// Starts the check of the body that belongs to `header`.
    pub fn body(&self, header: &Header) -> Body {
        Body {
            hash: Sha256::new(),
            seen: 0,
            header: *header,
            stack: self.stack,
            vectors: [0; VECTORS],
        }
    }

    fn fits(&self, header: &Header) -> Result<(), Reject> {
        if !header.board.is(self.board) {
            return Err(Reject::WrongBoard);
        }
        if !header.device_type.is(self.device_type) {
            return Err(Reject::WrongDeviceType);
        }
        if header.security_version < self.floor {
            return Err(Reject::BelowFloor);
        }
        if header.size == 0 {
            return Err(Reject::Empty);
        }
        if header.size > self.capacity.saturating_sub(HEADER_LEN as u32) {
            return Err(Reject::TooLarge);
        }
        if !self.place.takes(header) {
            return Err(Reject::WrongPlace);
        }
        if !entry_fits(header) {
            return Err(Reject::EntryOutside);
        }
        Ok(())
    }
}

impl Place {
    fn takes(self, header: &Header) -> bool {
        match self {
            Self::At(slot) => slot.checked_add(HEADER_LEN as u32) == Some(header.load),
            Self::Within(span) => span.holds(header.load, header.size),
        }
    }
}

impl Span {
    /// Whether `len` bytes from `start` lie inside.
    fn holds(self, start: u32, len: u32) -> bool {
        let from = u64::from(self.start);
        let to = from + u64::from(self.len);
        u64::from(start) >= from && u64::from(start) + u64::from(len) <= to
    }
}

fn entry_fits(header: &Header) -> bool {
    let body = Span {
        start: header.load,
        len: header.size,
    };
    match header.kind {
        Entry::Jump => header.entry.is_multiple_of(4) && body.holds(header.entry, 4),
        Entry::VectorTable => {
            header.entry.is_multiple_of(VECTOR_TABLE_ALIGN)
                && body.holds(header.entry, VECTORS as u32)
        }
    }
}

impl Body {
    /// Takes the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        let table = self.header.entry.wrapping_sub(self.header.load);
        for (at, byte) in self.vectors.iter_mut().enumerate() {
            let seen = table.wrapping_add(at as u32).checked_sub(self.seen);
            if let Some(found) = seen.and_then(|seen| bytes.get(seen as usize)) {
                *byte = *found;
            }
        }
        self.seen = self.seen.saturating_add(bytes.len() as u32);
    }

    /// Decides once all bytes of the body went past.
    ///
    /// # Errors
    ///
    /// The first reason found to refuse it.
    pub fn finish(self) -> Result<(), Reject> {
        if self.seen < self.header.size {
            return Err(Reject::Truncated);
        }
        if self.seen > self.header.size {
            return Err(Reject::TrailingBytes);
        }
        if self.hash.finish() != self.header.digest {
            return Err(Reject::WrongDigest);
        }
        match self.header.kind {
            Entry::Jump => Ok(()),
            Entry::VectorTable => self.header.vectors_fit(self.stack, self.vectors),
        }
    }
}

impl Header {
    fn vectors_fit(&self, ram: Span, vectors: [u8; VECTORS]) -> Result<(), Reject> {
        let [a, b, c, d, e, f, g, h] = vectors;
        let (stack, reset) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        let body = Span {
            start: self.load,
            len: self.size,
        };
        // The stack grows down from one past the RAM's last byte.
        if !stack.is_multiple_of(8) || !ram.holds(stack.wrapping_sub(8), 8) {
            return Err(Reject::StackOutside);
        }
        let thumb = reset & 1 == 1;
        if !thumb || !body.holds(reset & !1, 2) {
            return Err(Reject::ResetOutside);
        }
        Ok(())
    }
}
