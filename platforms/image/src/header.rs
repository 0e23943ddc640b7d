//! The header's bytes: what stands where, and what is canonical.
//!
//! Nothing here decides whether a device should run the image; see [`crate::check`].

use crate::{Reject, Version};

/// Bytes of a header.
pub const HEADER_LEN: usize = 256;

/// Bytes of the header that the signature covers.
pub const SIGNED_LEN: usize = 192;

/// Longest name of a board or device type: it fits the header, and a person can read it.
pub const MAX_NAME: usize = 32;

/// What every header starts with.
pub const MAGIC: [u8; 16] = *b"lightship-image\0";

const HEADER_VERSION: u16 = 1;

/// A header as it lies in flash.
pub type HeaderBytes = [u8; HEADER_LEN];

/// What stands at the entry address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Entry {
    /// Code: the bootloader jumps to the entry address.
    Jump = 0,
    /// A Cortex-M vector table: initial stack pointer, then the reset handler.
    VectorTable = 1,
}

/// The name of a board or device type: 1 to 32 characters of `a-z`, `0-9` and `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    bytes: [u8; MAX_NAME],
    len: u8,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The board whose hardware the image drives.
    pub board: Name,
    /// The kind of product the image makes of the board.
    pub device_type: Name,
    /// The version a person gave it.
    pub version: Version,
    /// Compared with the device's version floor.
    pub security_version: u32,
    /// Bytes of the body.
    pub size: u32,
    /// Address at which the body's first byte runs.
    pub load: u32,
    /// Address of the entry, inside the body.
    pub entry: u32,
    /// What stands at the entry address.
    pub kind: Entry,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
}

/// The part of a header that the signature covers, and the signature.
pub fn signed_part(bytes: &HeaderBytes) -> (&[u8; SIGNED_LEN], &[u8; 64]) {
    let (signed, signature) = bytes.split_at(SIGNED_LEN);
    (
        signed.try_into().expect("192 of 256 bytes"),
        signature.try_into().expect("the other 64 bytes"),
    )
}

impl Name {
    /// The name, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX_NAME];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        Self::from_padded(bytes)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether this is that name.
    pub fn is(&self, text: &str) -> bool {
        self.as_bytes() == text.as_bytes()
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn from_padded(bytes: [u8; MAX_NAME]) -> Option<Self> {
        let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        let (name, padding) = bytes.split_at(len);
        let fits = name
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        (fits && len > 0 && padding.iter().all(|byte| *byte == 0)).then_some(Self {
            bytes,
            len: len as u8,
        })
    }
}

impl Header {
    /// The bytes that are signed.
    pub fn encode(&self) -> [u8; SIGNED_LEN] {
        let mut out = [0; SIGNED_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(16, &HEADER_VERSION.to_le_bytes());
        put(18, &(self.kind as u16).to_le_bytes());
        put(24, &self.board.bytes);
        put(56, &self.device_type.bytes);
        put(88, &self.version.major.to_le_bytes());
        put(90, &self.version.minor.to_le_bytes());
        put(92, &self.version.patch.to_le_bytes());
        put(96, &self.security_version.to_le_bytes());
        put(100, &self.size.to_le_bytes());
        put(104, &self.load.to_le_bytes());
        put(108, &self.entry.to_le_bytes());
        put(112, &self.digest);
        out
    }

    /// Reads a header whose signature was verified.
    ///
    /// # Errors
    ///
    /// What [`Header::encode`] would not have written is refused.
    pub fn decode(signed: &[u8; SIGNED_LEN]) -> Result<Self, Reject> {
        if !has_magic(signed) {
            return Err(Reject::NoImage);
        }
        if u16_at(signed, 16) != HEADER_VERSION {
            return Err(Reject::UnknownHeaderVersion);
        }
        let reserved = signed[20..24].iter().chain(&signed[144..]);
        if reserved.fold(0, |all, byte| all | byte) != 0 {
            return Err(Reject::NotCanonical);
        }
        Ok(Self {
            board: Name::from_padded(bytes_at(signed, 24)).ok_or(Reject::NotCanonical)?,
            device_type: Name::from_padded(bytes_at(signed, 56)).ok_or(Reject::NotCanonical)?,
            version: Version {
                major: u16_at(signed, 88),
                minor: u16_at(signed, 90),
                patch: u32_at(signed, 92),
            },
            security_version: u32_at(signed, 96),
            size: u32_at(signed, 100),
            load: u32_at(signed, 104),
            entry: u32_at(signed, 108),
            kind: match u16_at(signed, 18) {
                0 => Entry::Jump,
                1 => Entry::VectorTable,
                _ => return Err(Reject::NotCanonical),
            },
            digest: bytes_at(signed, 112),
        })
    }
}

pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// `at` is one of the offsets above, so the slice is inside the header.
fn bytes_at<const N: usize>(signed: &[u8; SIGNED_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&signed[at..at + N]);
    out
}

fn u16_at(signed: &[u8; SIGNED_LEN], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(signed, at))
}

fn u32_at(signed: &[u8; SIGNED_LEN], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(signed, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            board: Name::new("riscv-virt").unwrap(),
            device_type: Name::new("pump").unwrap(),
            version: "1.2.3".parse().unwrap(),
            security_version: 4,
            size: 5,
            load: 6,
            entry: 7,
            kind: Entry::VectorTable,
            digest: [8; 32],
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn a_header_that_is_not_canonical_is_refused() {
        for (at, byte, why) in [
            (0, b'x', Reject::NoImage),
            (16, 2, Reject::UnknownHeaderVersion),
            (18, 2, Reject::NotCanonical),
            (20, 1, Reject::NotCanonical),
            (144, 1, Reject::NotCanonical),
            (191, 1, Reject::NotCanonical),
            (24, 0, Reject::NotCanonical),
            (24, b'R', Reject::NotCanonical),
            (40, b'x', Reject::NotCanonical),
            (56, 0, Reject::NotCanonical),
        ] {
            let mut bytes = header().encode();
            bytes[at] = byte;
            assert_eq!(Header::decode(&bytes), Err(why), "byte {at}");
        }
    }

    #[test]
    fn a_name_has_1_to_32_characters_of_its_alphabet() {
        let longest = "a234567890123456789012345678901b";
        assert_eq!(Name::new(longest).unwrap().as_str(), longest);
        for text in [
            "",
            "Board",
            "a b",
            "a\0b",
            "a234567890123456789012345678901bc",
        ] {
            assert_eq!(Name::new(text), None, "{text:?}");
        }
    }
}
