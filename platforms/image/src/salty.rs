//! Signatures by salty, for a bootloader whose flash is counted in single kilobytes.
//!
//! It is a third smaller than ed25519-dalek on Armv7-M and slower; both agree on every test vector.

use crate::check::Ed25519;
use salty::{PublicKey, Signature};

/// Verifies with salty, and refuses malleable signatures, as RFC 8032, section 5.1.7, asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Salty;

/// The order of the curve's group, little-endian (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

impl Ed25519 for Salty {
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let scalar = signature[32..].iter().rev();
        if scalar.ge(ORDER.iter().rev()) {
            return false;
        }
        let signature = Signature::from(signature);
        PublicKey::try_from(key).is_ok_and(|key| key.verify(message, &signature).is_ok())
    }
}
