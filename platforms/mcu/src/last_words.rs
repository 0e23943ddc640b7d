//! Why a firmware ended, left in RAM that a reset keeps: for the firmware that starts after it.
//!
//! Words that a power cut garbled, or that nobody left, are none.
//! Where they lie is the board's: `lightship-bootloader` has the place.

use core::fmt::{self, Write};

/// Bytes of RAM that the words take.
pub const PLACE_LEN: usize = 256;
/// Bytes of text that are kept; the rest is cut.
pub const TEXT_MOST: usize = PLACE_LEN - 12;

const MAGIC: u32 = 0x4C53_4C57;

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// It asked for the reset itself.
    Asked = 1,
    /// The watchdog was not fed.
    Watchdog = 2,
    /// It panicked.
    Panic = 3,
    /// The processor refused to go on.
    Fault = 4,
}

impl Cause {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Asked, Self::Watchdog, Self::Panic, Self::Fault]
            .into_iter()
            .find(|cause| *cause as u8 == code)
    }
}

/// What was left.
#[derive(Clone, Debug)]
pub struct LastWords {
    /// Why it ended.
    pub cause: Cause,
    bytes: [u8; TEXT_MOST],
    len: usize,
}

impl LastWords {
    /// The text, cut where it did not fit.
    pub fn text(&self) -> &str {
        let bytes = &self.bytes[..self.len];
        // A cut may fall inside a letter.
        str::from_utf8(bytes)
            .or_else(|error| str::from_utf8(&bytes[..error.valid_up_to()]))
            .unwrap_or_default()
    }

    /// Copies as much of the text as fits, and returns its length.
    pub fn copy_to(&self, into: &mut [u8]) -> usize {
        let text = self.text();
        let len = text.floor_char_boundary(into.len());
        into[..len].copy_from_slice(&text.as_bytes()[..len]);
        len
    }

    /// Words without a text, to be written to.
    pub fn new(cause: Cause) -> Self {
        let bytes = [0; TEXT_MOST];
        let len = 0;
        Self { cause, bytes, len }
    }

    /// As they are left: magic, cause and length, check, text.
    pub fn to_bytes(&self) -> [u8; PLACE_LEN] {
        let mut place = [0; PLACE_LEN];
        place[..4].copy_from_slice(&MAGIC.to_le_bytes());
        place[4] = self.cause as u8;
        place[5] = self.len as u8;
        place[12..].copy_from_slice(&self.bytes);
        let check = check(&place);
        place[8..12].copy_from_slice(&check.to_le_bytes());
        place
    }

    /// What was left, unless nobody left it.
    pub fn from_bytes(place: &[u8; PLACE_LEN]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes(core::array::from_fn(|byte| place[at + byte]));
        let len = usize::from(place[5]);
        if word(0) != MAGIC || word(8) != check(place) || len > TEXT_MOST {
            return None;
        }
        let mut words = Self::new(Cause::from_code(place[4])?);
        words.bytes.copy_from_slice(&place[12..]);
        words.len = len;
        Some(words)
    }
}

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_MOST - self.len;
        let bytes = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}

/// FNV-1a over everything but the check itself: it tells words from the noise of RAM at power-up.
fn check(place: &[u8; PLACE_LEN]) -> u32 {
    let bytes = place[..8].iter().chain(&place[12..]);
    bytes.fold(0x811C_9DC5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn words_are_read_as_they_were_left() {
        let mut words = LastWords::new(Cause::Panic);
        write!(words, "index {} of {}", 7, 3).expect("it takes any text");
        let words = LastWords::from_bytes(&words.to_bytes()).expect("words were left");
        assert_eq!((words.cause, words.text()), (Cause::Panic, "index 7 of 3"));
        assert!(LastWords::from_bytes(&[0; PLACE_LEN]).is_none());
        assert!(LastWords::from_bytes(&[0xFF; PLACE_LEN]).is_none());
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let mut words = LastWords::new(Cause::Fault);
        let long = format!("{}ü", "x".repeat(TEXT_MOST - 1));
        words.write_str(&long).expect("it takes any text");
        assert_eq!(words.text(), "x".repeat(TEXT_MOST - 1));
    }

    #[test]
    fn words_of_which_a_bit_is_wrong_are_none() {
        let mut words = LastWords::new(Cause::Watchdog);
        words.write_str("late").expect("it takes any text");
        let good = words.to_bytes();
        assert!(LastWords::from_bytes(&good).is_some());
        for at in (0..6).chain(8..16) {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert!(LastWords::from_bytes(&bad).is_none(), "byte {at}");
        }
    }
}
