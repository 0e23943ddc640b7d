//! By salty.

use salty::agreement::SecretKey;
use salty::{CompressedY, PublicKey, Signature};

use super::is_canonical;

/// The order of the curve's group, little-endian (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Whether `key` made this signature of `message`.
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let (point, scalar) = signature.split_at(32);
    let Some(point) = point.first_chunk::<32>() else {
        return false;
    };
    let is_reduced = scalar.iter().rev().lt(ORDER.iter().rev());
    if !is_reduced || !is_plain(key) || !is_plain(point) {
        return false;
    }
    let signature = Signature::from(signature);
    PublicKey::try_from(key).is_ok_and(|key| key.verify(message, &signature).is_ok())
}

/// Whether it is a point, written as it should be, that is not one of the eight whose order divides the cofactor.
fn is_plain(point: &[u8; 32]) -> bool {
    let Ok(mut multiple) = CompressedY::from(point).decompressed() else {
        return false;
    };
    for _ in 0..3 {
        multiple = &multiple + &multiple;
    }
    let mut neutral = [0; 32];
    neutral[0] = 1;
    is_canonical(point) && multiple.compressed().0 != neutral
}

/// The X25519 public key of a private key (RFC 7748, section 5).
pub(crate) fn public(secret: &[u8; 32]) -> [u8; 32] {
    SecretKey::from_seed(secret).public().to_bytes()
}
