//! By salty, of which the field and the points are used; what verifies is written here, because salty's numbers modulo the group's order take 2.5 KB, and its SHA-512 takes 0.7 KB more than [ours](crate::hash).

use salty::{CompressedY, EdwardsPoint, Scalar};

use super::is_canonical;
use crate::hash::small::Sha512;

/// The order of the curve's group, little-endian (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Whether `key` made this signature of `message`: whether sB is R + kA (RFC 8032, section 5.1.7).
#[inline(never)]
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let (Some(commitment), Some(scalar)) =
        (signature.first_chunk::<32>(), signature.last_chunk::<32>())
    else {
        return false;
    };
    let (Some(point), Some(committed)) = (plain(key), plain(commitment)) else {
        return false;
    };
    if is_order_or_more(scalar) {
        return false;
    }
    let mut hash = Sha512::new();
    hash.update(commitment);
    hash.update(key);
    hash.update(message);
    let challenge = Scalar(reduced(&hash.finish()));
    let Some(ours) = base_times(&Scalar(*scalar)) else {
        return false;
    };
    let theirs = &committed + &(&challenge * &point);
    ours.compressed().0 == theirs.compressed().0
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

/// A multiple of the curve's base point, of which the written form takes less room than salty's own.
fn base_times(scalar: &Scalar) -> Option<EdwardsPoint> {
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let base = CompressedY(base).decompressed().ok()?;
    Some(scalar * &base)
}

fn is_order_or_more(number: &[u8; 32]) -> bool {
    for (byte, limit) in number.iter().zip(&ORDER).rev() {
        if byte != limit {
            return byte > limit;
        }
    }
    true
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
            for (byte, less) in rest.iter_mut().zip(&ORDER) {
                (*byte, borrow) = byte.borrowing_sub(*less, borrow);
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
    let point = base_times(&scalar).expect("the base point is one");
    point.to_montgomery().to_bytes()
}
