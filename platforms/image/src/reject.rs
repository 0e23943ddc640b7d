//! Why an image is refused: one variant for each reason, so that a report can name it.

use core::fmt;

/// Why an image is not bootable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Reject {
    /// The flash could not be read.
    Unreadable = 1,
    /// There is no image: the magic is not there.
    NoImage = 2,
    /// No trusted key signed this header.
    BadSignature = 3,
    /// The header has a version this code does not know.
    UnknownHeaderVersion = 4,
    /// Reserved bytes are not zero, a name is not padded with zeros or holds other characters than
    /// `a-z`, `0-9` and `-`, or the kind of entry is unknown.
    NotCanonical = 5,
    /// The image is for another board.
    WrongBoard = 6,
    /// The image is for another type of device.
    WrongDeviceType = 7,
    /// The security version is below the version floor.
    BelowFloor = 8,
    /// The body has no bytes.
    Empty = 9,
    /// The image does not fit the slot.
    TooLarge = 10,
    /// The body was linked to run somewhere else.
    WrongPlace = 11,
    /// The entry address, or the vector table, is outside the body or not aligned.
    EntryOutside = 12,
    /// The vector table's reset handler is outside the body or is not Thumb code.
    ResetOutside = 13,
    /// The vector table's initial stack pointer is outside the RAM or not aligned.
    StackOutside = 14,
    /// The body is shorter than the header says.
    Truncated = 15,
    /// The body goes on after the size that the header says.
    TrailingBytes = 16,
    /// The body's digest is not the signed one.
    WrongDigest = 17,
}

impl Reject {
    /// All variants, in the order of their codes.
    pub const ALL: [Self; 17] = [
        Self::Unreadable,
        Self::NoImage,
        Self::BadSignature,
        Self::UnknownHeaderVersion,
        Self::NotCanonical,
        Self::WrongBoard,
        Self::WrongDeviceType,
        Self::BelowFloor,
        Self::Empty,
        Self::TooLarge,
        Self::WrongPlace,
        Self::EntryOutside,
        Self::ResetOutside,
        Self::StackOutside,
        Self::Truncated,
        Self::TrailingBytes,
        Self::WrongDigest,
    ];

    /// The code under which a boot record keeps this reason; never 0.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unreadable => "the flash could not be read",
            Self::NoImage => "there is no image",
            Self::BadSignature => "no trusted key signed the image",
            Self::UnknownHeaderVersion => "the header has an unknown version",
            Self::NotCanonical => "the header is not in canonical form",
            Self::WrongBoard => "the image is for another board",
            Self::WrongDeviceType => "the image is for another type of device",
            Self::BelowFloor => "the security version is below the version floor",
            Self::Empty => "the body is empty",
            Self::TooLarge => "the image does not fit the slot",
            Self::WrongPlace => "the body was linked to run somewhere else",
            Self::EntryOutside => "the entry is outside the body",
            Self::ResetOutside => "the reset handler is outside the body",
            Self::StackOutside => "the initial stack is outside the RAM",
            Self::Truncated => "the body is shorter than the header says",
            Self::TrailingBytes => "the body is longer than the header says",
            Self::WrongDigest => "the body's digest is not the signed one",
        })
    }
}

impl core::error::Error for Reject {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back_from_its_code() {
        for reject in Reject::ALL {
            assert_eq!(Reject::from_code(reject.code()), Some(reject));
        }
        assert_eq!(Reject::from_code(0), None);
        assert_eq!(Reject::from_code(18), None);
    }
}
