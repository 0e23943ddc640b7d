//! Signatures by ed25519-dalek, where flash is not counted in single kilobytes.

use crate::check::Ed25519;
use ed25519_dalek::{Signature, VerifyingKey};

/// Verifies with ed25519-dalek's strict rules: no small-order keys, no malleable signatures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dalek;

impl Ed25519 for Dalek {
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
            .is_ok()
    }
}
