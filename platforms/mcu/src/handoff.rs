//! What the bootloader tells the image it starts: which slot runs, and why.
//!
//! It is told in RAM that a reset clears or a power cut loses, never deduced from the records:
//! if a record could not be written, the records and the running image disagree.

use crate::Slot;

/// Why the running image was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Why {
    /// It is the confirmed image.
    Confirmed = 1,
    /// It is on trial.
    Trial = 2,
    /// The confirmed image is damaged and the other slot holds a whole one.
    Rescue = 3,
}

impl Why {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Trial => "trial",
            Self::Rescue => "rescue",
        }
    }
}

/// The bootloader's message to the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handoff {
    /// The slot that runs.
    pub slot: Slot,
    /// Why it does.
    pub why: Why,
}

const MAGIC: u32 = 0x4C53_4831;

impl Handoff {
    /// The words to leave in RAM.
    pub fn to_words(self) -> [u32; 3] {
        let said = u32::from(self.slot as u8) << 8 | u32::from(self.why as u8);
        [MAGIC, said, !said]
    }

    /// What was left in RAM, unless no bootloader left it.
    pub fn from_words(words: [u32; 3]) -> Option<Self> {
        let [magic, said, inverse] = words;
        if magic != MAGIC || said != !inverse {
            return None;
        }
        let [why, slot, 0, 0] = said.to_le_bytes() else {
            return None;
        };
        Some(Self {
            slot: Slot::from_code(slot)?,
            why: match why {
                1 => Why::Confirmed,
                2 => Why::Trial,
                3 => Why::Rescue,
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handoff_is_read_as_it_was_left() {
        for slot in [Slot::A, Slot::B] {
            for why in [Why::Confirmed, Why::Trial, Why::Rescue] {
                let handoff = Handoff { slot, why };
                assert_eq!(Handoff::from_words(handoff.to_words()), Some(handoff));
            }
        }
    }

    #[test]
    fn ram_that_nobody_wrote_is_no_handoff() {
        assert_eq!(Handoff::from_words([0; 3]), None);
        assert_eq!(Handoff::from_words([u32::MAX; 3]), None);
        assert_eq!(Handoff::from_words([MAGIC, 0x0202, !0x0202]), None);
        let [magic, said, inverse] = Handoff {
            slot: Slot::B,
            why: Why::Trial,
        }
        .to_words();
        assert_eq!(Handoff::from_words([magic, said ^ 1, inverse]), None);
    }
}
