//! What the bootloader and the application remember together, as one record of 64 bytes.
//!
//! What changes together is in one record, so that no cut can separate it.

use crate::limits;
use lightship_image::Reject;

/// Bytes of a record: a multiple of every word size from 1 to 32 bytes.
pub const RECORD_LEN: usize = 64;

const FORMAT: u8 = 1;
const CRC: crc::Crc<u32, crc::NoTable> = crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);

/// One of the two places for an image.
///
/// On a device that swaps, images run from A alone and B is where the other one is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Slot {
    /// The first.
    A = 0,
    /// The second.
    B = 1,
}

/// Everything that must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootState {
    /// The slot of the confirmed image.
    pub confirmed: Slot,
    /// The update that is being tried.
    pub trial: Option<Trial>,
    /// How the last update ended.
    pub outcome: Outcome,
    /// The image that is being written.
    pub staging: Option<Staging>,
    /// Lowest security version that may run; it only rises.
    pub floor: u32,
}

/// An update that is neither confirmed nor reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// How far it is.
    pub phase: Phase,
    /// Failed starts that are left.
    pub tries_left: u8,
    /// Power cuts that are left.
    pub cuts_left: u8,
    /// Erase units that are swapped; 0 where nothing is.
    pub units: u16,
}

/// The way of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The next boot starts it.
    Pending,
    /// The images change places; so many copies are done.
    Swapping(u16),
    /// It was started at least once.
    Started,
    /// It is given up; so many copies are still to be undone.
    Reverting(u16),
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// There was none, or it has not ended.
    None,
    /// The new image was confirmed and runs from now on.
    Confirmed,
    /// The image from before runs again.
    Reverted(Revert),
    /// The confirmed image was damaged, and the other slot's became the confirmed one.
    Rescued(Reject),
}

/// Why an update was reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Revert {
    /// The application asked for it.
    Asked,
    /// The image failed at every start: it was reset by the watchdog, a fault or itself.
    TriesSpent,
    /// The power was cut too often before it was confirmed.
    CutsSpent,
    /// The flash could not be erased or programmed.
    FlashFailed,
    /// The bootloader refused the image.
    Refused(Reject),
}

impl Outcome {
    /// For people: how it ended, and the cause with a space before it, or nothing.
    pub const fn words(self) -> [&'static str; 2] {
        match self {
            Self::None => ["none", ""],
            Self::Confirmed => ["confirmed", ""],
            Self::Reverted(Revert::Asked) => ["reverted", " (asked)"],
            Self::Reverted(Revert::TriesSpent) => ["reverted", " (failed at every start)"],
            Self::Reverted(Revert::CutsSpent) => ["reverted", " (too many power cuts)"],
            Self::Reverted(Revert::FlashFailed) => ["reverted", " (flash failed)"],
            Self::Reverted(Revert::Refused(_)) => ["reverted", " (image refused) "],
            Self::Rescued(_) => ["rescued", " (image damaged) "],
        }
    }

    /// What was wrong with the image, if that was the cause.
    pub const fn reject(self) -> Option<Reject> {
        match self {
            Self::Reverted(Revert::Refused(reject)) | Self::Rescued(reject) => Some(reject),
            Self::None | Self::Confirmed | Self::Reverted(_) => None,
        }
    }
}

/// An image that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staging {
    /// SHA-256 of the whole image, header included.
    pub digest: [u8; 32],
    /// Bytes of the whole image.
    pub size: u32,
    /// Bytes that are surely in flash.
    pub position: u32,
}

impl Slot {
    /// Its letter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// The one that this is not.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::A),
            1 => Some(Self::B),
            _ => None,
        }
    }
}

impl Trial {
    /// A trial that the next boot starts.
    pub const fn pending() -> Self {
        Self {
            phase: Phase::Pending,
            tries_left: limits::TRIES,
            cuts_left: limits::CUTS,
            units: 0,
        }
    }
}

impl BootState {
    /// What a device knows that never wrote a record: slot A came with it.
    pub const NEW: Self = Self {
        confirmed: Slot::A,
        trial: None,
        outcome: Outcome::None,
        staging: None,
        floor: 0,
    };

    pub(crate) fn encode(&self, counter: u32) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &counter.to_le_bytes());
        put(4, &[FORMAT, self.confirmed as u8]);
        if let Some(trial) = &self.trial {
            let (phase, copies) = trial.phase.code();
            put(6, &[phase, trial.tries_left, trial.cuts_left]);
            put(12, &trial.units.to_le_bytes());
            put(14, &copies.to_le_bytes());
        }
        put(9, &self.outcome.code());
        put(16, &self.floor.to_le_bytes());
        if let Some(staging) = &self.staging {
            put(11, &[1]);
            put(20, &staging.size.to_le_bytes());
            put(24, &staging.position.to_le_bytes());
            put(28, &staging.digest);
        }
        let crc = CRC.checksum(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The counter and the state, unless the record is not whole.
    pub(crate) fn decode(bytes: &[u8; RECORD_LEN]) -> Option<(u32, Self)> {
        let (body, crc) = bytes.split_last_chunk()?;
        if u32::from_le_bytes(*crc) != CRC.checksum(body) || bytes[4] != FORMAT {
            return None;
        }
        let state = Self {
            confirmed: Slot::from_code(bytes[5])?,
            trial: Trial::decode(bytes)?,
            outcome: Outcome::from_code([bytes[9], bytes[10]])?,
            staging: (bytes[11] == 1).then(|| Staging {
                digest: array(bytes, 28),
                size: u32::from_le_bytes(array(bytes, 20)),
                position: u32::from_le_bytes(array(bytes, 24)),
            }),
            floor: u32::from_le_bytes(array(bytes, 16)),
        };
        Some((u32::from_le_bytes(array(bytes, 0)), state))
    }
}

impl Trial {
    /// `None` is a record that this code did not write.
    fn decode(bytes: &[u8; RECORD_LEN]) -> Option<Option<Self>> {
        let copies = u16::from_le_bytes(array(bytes, 14));
        let phase = match bytes[6] {
            0 => return Some(None),
            1 => Phase::Pending,
            2 => Phase::Swapping(copies),
            3 => Phase::Started,
            4 => Phase::Reverting(copies),
            _ => return None,
        };
        Some(Some(Self {
            phase,
            tries_left: bytes[7],
            cuts_left: bytes[8],
            units: u16::from_le_bytes(array(bytes, 12)),
        }))
    }
}

impl Phase {
    const fn code(self) -> (u8, u16) {
        match self {
            Self::Pending => (1, 0),
            Self::Swapping(copies) => (2, copies),
            Self::Started => (3, 0),
            Self::Reverting(copies) => (4, copies),
        }
    }
}

impl Outcome {
    const fn code(self) -> [u8; 2] {
        match self {
            Self::None => [0, 0],
            Self::Confirmed => [1, 0],
            Self::Reverted(Revert::Asked) => [2, 0],
            Self::Reverted(Revert::TriesSpent) => [3, 0],
            Self::Reverted(Revert::CutsSpent) => [4, 0],
            Self::Reverted(Revert::FlashFailed) => [5, 0],
            Self::Reverted(Revert::Refused(reject)) => [6, reject.code()],
            Self::Rescued(reject) => [7, reject.code()],
        }
    }

    fn from_code([kind, detail]: [u8; 2]) -> Option<Self> {
        Some(match kind {
            0 => Self::None,
            1 => Self::Confirmed,
            2 => Self::Reverted(Revert::Asked),
            3 => Self::Reverted(Revert::TriesSpent),
            4 => Self::Reverted(Revert::CutsSpent),
            5 => Self::Reverted(Revert::FlashFailed),
            6 => Self::Reverted(Revert::Refused(Reject::from_code(detail)?)),
            7 => Self::Rescued(Reject::from_code(detail)?),
            _ => return None,
        })
    }
}

/// `at` is one of the offsets above, so the slice is inside the record.
fn array<const N: usize>(bytes: &[u8; RECORD_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> impl Iterator<Item = BootState> {
        let phases = [
            Phase::Pending,
            Phase::Swapping(0),
            Phase::Swapping(513),
            Phase::Started,
            Phase::Reverting(7),
        ];
        let outcomes = [
            Outcome::None,
            Outcome::Confirmed,
            Outcome::Reverted(Revert::Asked),
            Outcome::Reverted(Revert::TriesSpent),
            Outcome::Reverted(Revert::CutsSpent),
            Outcome::Reverted(Revert::FlashFailed),
            Outcome::Reverted(Revert::Refused(Reject::WrongDigest)),
            Outcome::Rescued(Reject::BadSignature),
        ];
        let staging = Some(Staging {
            digest: [7; 32],
            size: 8,
            position: 9,
        });
        let trial = |phase| Trial {
            phase,
            tries_left: 2,
            cuts_left: 3,
            units: 300,
        };
        phases.into_iter().flat_map(move |phase| {
            outcomes.into_iter().flat_map(move |outcome| {
                [None, staging].into_iter().flat_map(move |staging| {
                    [None, Some(trial(phase))]
                        .into_iter()
                        .map(move |trial| BootState {
                            confirmed: Slot::B,
                            trial,
                            outcome,
                            staging,
                            floor: 10,
                        })
                })
            })
        })
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for state in states() {
            assert_eq!(BootState::decode(&state.encode(11)), Some((11, state)));
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_is_no_record() {
        let record = BootState::NEW.encode(1);
        for at in 0..RECORD_LEN {
            let mut torn = record;
            torn[at] ^= 0x40;
            assert_eq!(BootState::decode(&torn), None, "byte {at}");
        }
        assert_eq!(BootState::decode(&[0; RECORD_LEN]), None);
        assert_eq!(BootState::decode(&[0xFF; RECORD_LEN]), None);
    }
}
