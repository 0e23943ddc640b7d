//! What is decided about one device, as it is stored.

use lightship_core::id::{Digest, Uuid};
use lightship_core::time::UnixTime;
use lightship_core::trust::{AssignmentHead, Offence, encode_assignment};
use serde::{Deserialize, Serialize};

/// Longest payload of an assignment: a head and settings for every component.
const PAYLOAD_BYTES: usize = 128 + crate::limits::COMPONENTS * 33;

/// What is decided about one device. Stored whole, in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it was told last.
    pub assigned: Option<Assigned>,
    /// What it was told before, as long as it has not acknowledged the last.
    pub previous: Option<Previous>,
    /// The highest floor of the releases it committed.
    pub floor: u32,
}

/// An assignment, without the device that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Number of the release.
    pub release: u64,
    /// SHA-256 digest of the payload of its document for the device's type.
    pub document: Digest,
    /// Component position and digest of its settings, in rising order of position.
    pub settings: Vec<(u8, Digest)>,
    /// Never lower than any before.
    pub counter: u64,
    /// When it was decided.
    pub issued: UnixTime,
    /// When the device must suspect that newer ones are kept from it.
    pub expires: UnixTime,
    /// Raised by a person to have a rejected release tried again.
    pub attempt: u32,
    /// Whether update locks are overridden.
    pub override_locks: bool,
}

/// What a device was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Number of the release.
    pub release: u64,
    /// Its document: after a move, the number means another release.
    pub document: Digest,
}

impl Assigned {
    /// The payload that the server signs as director.
    ///
    /// # Errors
    ///
    /// [`Offence::StraySettings`] when positions do not rise, which the director never does.
    pub fn payload(&self, device: Uuid) -> Result<Vec<u8>, Offence> {
        let head = AssignmentHead {
            device,
            counter: self.counter,
            issued: self.issued,
            expires: self.expires,
            release: self.document,
            attempt: self.attempt,
            override_locks: self.override_locks,
        };
        let mut out = vec![0; PAYLOAD_BYTES];
        let len = encode_assignment(&head, &self.settings, &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    /// Whether a device would do the same with both.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        self.document == other.document
            && self.release == other.release
            && self.settings == other.settings
            && self.attempt == other.attempt
            && self.override_locks == other.override_locks
    }

    /// Whether following `other` instead would stop or start anything.
    pub(crate) fn disturbs(&self, other: &Self) -> bool {
        self.document != other.document || self.settings != other.settings
    }
}
