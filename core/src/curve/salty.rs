//! By salty, of which the field, the points and SHA-512 are used; what verifies is written here, because a number is needed modulo the group's order once, and salty's arithmetic for that takes 2.5 KB.

use salty::{CompressedY, EdwardsPoint, Scalar};
use sha2::{Digest as _, Sha512};

use super::is_canonical;

/// The order of the curve's group, little-endian (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Whether `key` made this signature of `message`: whether sB - kA, written out, is the commitment R (RFC 8032, section 5.1.7).
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let (Some(commitment), Some(scalar)) = (
        signature.first_chunk::<32>(),
        signature.last_chunk::<32>(),
    ) else {
        return false;
    };
    let (Some(point), Some(_)) = (plain(key), plain(commitment)) else {
        return false;
    };
    if is_order_or_more(scalar) {
        return false;
    }
    let mut hash = Sha512::new();
    for part in [commitment, key, message] as [&[u8]; 3] {
        hash.update(part);
    }
    let challenge = Scalar(reduced(&hash.finalize().into()));
    let ours = &Scalar(*scalar) * &EdwardsPoint::basepoint();
    let point = &ours + &(&challenge * &-&point);
    point.compressed().0 == *commitment
}

/// The point, if it is one, is written as it should be, and is not one of the eight whose order divides the cofactor.
fn plain(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedY(*bytes).decompressed().ok()?;
    let mut multiple = point;
    for _ in 0..3 {
        multiple = &multiple + &multiple;
    }
    let mut neutral = [0; 32];
    neutral[0] = 1;
    (is_canonical(bytes) && multiple.compressed().0 != neutral).then_some(point)
}

fn is_order_or_more(number: &[u8; 32]) -> bool {
    number.iter().rev().ge(ORDER.iter().rev())
}

/// What is left of a number, little-endian, after division by the group's order: long division, bit by bit.
///
/// What is divided is public, so that it need not take the same time always.
fn reduced(number: &[u8; 64]) -> [u8; 32] {
    let mut rest = [0; 32];
    for bit in (0..512).rev() {
        // Less than the order, which leaves the three highest bits free.
        let mut carry = number[bit / 8] >> (bit % 8) & 1;
        for byte in &mut rest {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if is_order_or_more(&rest) {
            let mut borrow = false;
            for (byte, less) in rest.iter_mut().zip(ORDER) {
                (*byte, borrow) = byte.borrowing_sub(less, borrow);
            }
        }
    }
    rest
}

/// The X25519 public key of a private key (RFC 7748, section 5): the u of the same multiple of the Edwards curve's base point (section 4.1), in the same time for every key.
pub(crate) fn public(secret: &[u8; 32]) -> [u8; 32] {
    let mut scalar = Scalar(*secret);
    scalar.0[0] &= 0xf8;
    scalar.0[31] = scalar.0[31] & 0x7f | 0x40;
    let point = &scalar * &EdwardsPoint::basepoint();
    point.to_montgomery().to_bytes()
}
