//! By ed25519-dalek and x25519-dalek.

use ed25519_dalek::{Signature, VerifyingKey};

use super::is_canonical;

/// Whether `key` made this signature of `message`.
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(verifying) = VerifyingKey::from_bytes(key) else {
        return false;
    };
    let is_plain = is_canonical(key) && is_canonical(&signature[..32]);
    let signature = Signature::from_bytes(signature);
    is_plain && verifying.verify_strict(message, &signature).is_ok()
}

/// The X25519 public key of a private key (RFC 7748, section 5).
pub(crate) fn public(secret: &[u8; 32]) -> [u8; 32] {
    let secret = x25519_dalek::StaticSecret::from(*secret);
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}
