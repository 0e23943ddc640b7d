//! Signatures by salty, for a bootloader whose flash is counted in single kilobytes.
//!
//! It is a third smaller than ed25519-dalek on Armv7-M and slower; both agree on every test vector.

use crate::check::Ed25519;
use salty::{PublicKey, Signature};

/// Verifies with salty, and refuses malleable signatures, as RFC 8032, section 5.1.7, asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Salty;

impl Ed25519 for Salty {
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from(signature);
        if !signature.s.is_canonical() {
            return false;
        }
        PublicKey::try_from(key).is_ok_and(|key| key.verify(message, &signature).is_ok())
    }
}
