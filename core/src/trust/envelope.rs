//! The envelope: signatures beside the bytes they are over.
//!
//! ```text
//! byte 0      1, the format of the envelope
//! byte 1      n, the number of signatures
//! n times     8 bytes key id, 64 bytes Ed25519 signature (RFC 8032) over the payload
//! the rest    payload
//! ```
//!
//! The payload names its own role (see [`document`](super::document)), so a signature for one role is worth nothing for another.

use super::Offence;
use super::document::{RoleKeys, Root};
use crate::id::KeyId;
use crate::limits::{DOCUMENT_BYTES, ROOT_KEYS, SIGNATURES};

/// Bytes of one signature entry: key id and Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 8 + 64;
const FORMAT: u8 = 1;

/// Signatures and the bytes they are over, not yet verified.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    signatures: Signatures<'a>,
    /// What was signed, exactly as received.
    pub payload: &'a [u8],
}

/// Iterates over the entries of an envelope.
#[derive(Clone, Copy, Debug)]
pub struct Signatures<'a>(&'a [u8]);

impl<'a> Iterator for Signatures<'a> {
    type Item = (KeyId, &'a [u8; 64]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.0.split_first_chunk::<8>()?;
        let (signature, rest) = rest.split_first_chunk::<64>()?;
        self.0 = rest;
        Some((KeyId(*id), signature))
    }
}

impl<'a> Envelope<'a> {
    /// An envelope from parts that another [`Codec`](super::Codec) took apart.
    ///
    /// `signatures` is a run of [`SIGNATURE_BYTES`] long entries; a broken last entry is not seen.
    pub const fn from_parts(signatures: &'a [u8], payload: &'a [u8]) -> Self {
        Self {
            signatures: Signatures(signatures),
            payload,
        }
    }

    /// Takes an envelope apart.
    ///
    /// # Errors
    ///
    /// [`Offence::TooLarge`], [`Offence::UnknownVersion`], [`Offence::TooManySignatures`] or [`Offence::Undecodable`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, Offence> {
        if bytes.len() > DOCUMENT_BYTES {
            return Err(Offence::TooLarge);
        }
        let [format, count, rest @ ..] = bytes else {
            return Err(Offence::Undecodable);
        };
        if *format != FORMAT {
            return Err(Offence::UnknownVersion);
        }
        if usize::from(*count) > SIGNATURES {
            return Err(Offence::TooManySignatures);
        }
        let (signatures, payload) = rest
            .split_at_checked(usize::from(*count) * SIGNATURE_BYTES)
            .ok_or(Offence::Undecodable)?;
        Ok(Self::from_parts(signatures, payload))
    }

    /// The signatures, in the order received.
    pub const fn signatures(&self) -> Signatures<'a> {
        self.signatures
    }

    /// Checks that enough different keys of a role signed the payload (TUF specification, section 5.3.4).
    ///
    /// A key counts once however often it signed; signatures by unknown keys and invalid signatures count for nothing.
    /// Verification is strict: small-order points and non-canonical encodings are refused.
    ///
    /// # Errors
    ///
    /// [`Offence::ImpossibleThreshold`] or [`Offence::UnderThreshold`].
    pub fn verify(&self, root: &Root, keys: RoleKeys) -> Result<(), Offence> {
        if !keys.is_possible(root.keys.len()) {
            return Err(Offence::ImpossibleThreshold);
        }
        let (mut signed_by, mut missing) = (0u8, keys.threshold);
        for (id, signature) in self.signatures.take(SIGNATURES) {
            let position = root.keys.iter().position(|key| KeyId::of(key) == id);
            let Some(position) = position.filter(|&p| p < ROOT_KEYS) else {
                continue;
            };
            let bit = 1 << position;
            if keys.members & bit == 0 || signed_by & bit != 0 {
                continue;
            }
            if root.keys[position].has_signed(self.payload, signature) {
                signed_by |= bit;
                missing = missing.saturating_sub(1);
            }
        }
        if missing == 0 {
            Ok(())
        } else {
            Err(Offence::UnderThreshold)
        }
    }
}

/// Writes an envelope around `payload` and returns its length.
///
/// This is the publisher's half: it runs where the keys are, never on a device.
///
/// # Errors
///
/// [`Offence::TooManySignatures`], or [`Offence::TooLarge`] when it is longer than `out` or than [`DOCUMENT_BYTES`].
pub fn seal(
    payload: &[u8],
    signatures: &[(KeyId, [u8; 64])],
    out: &mut [u8],
) -> Result<usize, Offence> {
    if signatures.len() > SIGNATURES {
        return Err(Offence::TooManySignatures);
    }
    let len = 2 + signatures.len() * SIGNATURE_BYTES + payload.len();
    if len > DOCUMENT_BYTES || len > out.len() {
        return Err(Offence::TooLarge);
    }
    out[0] = FORMAT;
    out[1] = u8::try_from(signatures.len()).expect("at most SIGNATURES");
    let (entries, rest) = out[2..len].split_at_mut(signatures.len() * SIGNATURE_BYTES);
    for (entry, (id, signature)) in entries.chunks_exact_mut(SIGNATURE_BYTES).zip(signatures) {
        entry[..8].copy_from_slice(&id.0);
        entry[8..].copy_from_slice(signature);
    }
    rest.copy_from_slice(payload);
    Ok(len)
}
