//! Why a firmware ended, left in RAM that a reset keeps: for the firmware that starts after it.
//!
//! Words that a power cut garbled, or that nobody left, are none.
//! Where they lie is the board's: `lightship-bootloader` has the place.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering};

/// Bytes of RAM that the words take.
pub const PLACE_LEN: usize = 256;
/// Bytes of text that are kept; the rest is cut.
pub const TEXT_MOST: usize = PLACE_LEN - 12;

const MAGIC: u32 = 0x4C53_4C57;

/// The image that runs, by the start of its digest; a fault handler can ask nobody.
static IMAGE: AtomicU32 = AtomicU32::new(0);

/// Notes which image runs, for [`LastWords::fault`].
pub fn runs(digest: &[u8; 32]) {
    let [first, second, third, fourth, ..] = *digest;
    let start = u32::from_be_bytes([first, second, third, fourth]);
    IMAGE.store(start, Ordering::Relaxed);
}

/// The start of these bytes that is text.
pub(crate) fn valid(bytes: &[u8]) -> &str {
    str::from_utf8(bytes)
        .or_else(|error| str::from_utf8(&bytes[..error.valid_up_to()]))
        .unwrap_or_default()
}

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
        // A cut may fall inside a letter.
        valid(&self.bytes[..self.len])
    }

    /// Copies as much of the text as fits, and returns its length.
    pub fn copy_to(&self, into: &mut [u8]) -> usize {
        let text = self.text();
        let len = text.floor_char_boundary(into.len());
        into[..len].copy_from_slice(&text.as_bytes()[..len]);
        len
    }

    /// Words without a text, to be written to.
    pub const fn new(cause: Cause) -> Self {
        let bytes = [0; TEXT_MOST];
        let len = 0;
        Self { cause, bytes, len }
    }

    /// What a fault handler knows: the instruction, and where the function that it is in goes back to.
    ///
    /// A panic is such a fault where panics are one instruction.
    pub fn fault(at: u32, back: u32) -> Self {
        Self::new(Cause::Fault)
            .and(FAULT_AT)
            .word(at)
            .and(CALLED_FROM)
            .word(back)
            .and(IN_IMAGE)
            .word(IMAGE.load(Ordering::Relaxed))
    }

    /// With more text, cut where there is no more room.
    #[must_use]
    pub fn and(mut self, text: &str) -> Self {
        self.push(text.as_bytes());
        self
    }

    /// With an address or another word of the processor, in hexadecimal.
    #[must_use]
    pub fn word(self, word: u32) -> Self {
        let digit = |half: u32| b"0123456789abcdef"[half as usize & 15];
        let mut words = self.and("0x");
        for place in (0..8).rev() {
            words.push(&[digit(word >> (4 * place))]);
        }
        words
    }

    fn push(&mut self, text: &[u8]) {
        let room = TEXT_MOST - self.len;
        let bytes = &text[..text.len().min(room)];
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
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

const FAULT_AT: &str = "fault at ";
const CALLED_FROM: &str = ", called from ";
const IN_IMAGE: &str = ", image ";

/// What [`LastWords::fault`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address of the instruction.
    pub at: u32,
    /// Where the function goes back to.
    pub back: u32,
    /// The first four bytes of the image's digest, big end first.
    pub image: u32,
}

impl Fault {
    /// Finds it in a line, whatever stands around it.
    pub fn find(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(FAULT_AT)?;
        let (at, rest) = hexadecimal(rest)?;
        let (back, rest) = hexadecimal(rest.strip_prefix(CALLED_FROM)?)?;
        let (image, _) = hexadecimal(rest.strip_prefix(IN_IMAGE)?)?;
        Some(Self { at, back, image })
    }
}

fn hexadecimal(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.strip_prefix("0x")?.split_at_checked(8)?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
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
    fn a_fault_is_found_in_a_line() {
        runs(&[0xAB; 32]);
        let words = LastWords::fault(0xA000_0B1E, 0x8004_0001);
        let said = "fault at 0xa0000b1e, called from 0x80040001, image 0xabababab";
        assert_eq!((words.cause, words.text()), (Cause::Fault, said));
        let fault = Fault {
            at: 0xA000_0B1E,
            back: 0x8004_0001,
            image: 0xABAB_ABAB,
        };
        assert_eq!(Fault::find(&format!("it ended: {said}.")), Some(fault));
        for len in 0..said.len() {
            assert_eq!(Fault::find(&said[..len]), None, "{len} letters");
        }
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
