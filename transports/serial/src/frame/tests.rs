use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn head(kind: Kind) -> Head {
    Head {
        kind,
        session: 0,
        sequence: 7,
    }
}

fn encoded(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xaa; encoded_bytes(payload.len())];
    let len = encode(head(kind), payload, &mut out).expect("it fits");
    out.truncate(len);
    out
}

/// Every frame found among the bytes.
fn decoded<const N: usize>(bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
    let mut decoder = Decoder::<N>::new();
    let mut found = Vec::new();
    for byte in bytes {
        if decoder.push(*byte) {
            let frame = decoder.frame().expect("it was whole");
            found.push((frame.head, frame.payload.to_vec()));
        }
    }
    found
}

#[test]
fn the_check_value_of_the_crc_catalogue() {
    assert_eq!(!crc(u32::MAX, b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_frame_holds_no_zero_but_its_ends() {
    for payload in [&[][..], &[0; 10], &[1; 600], &[0, 1, 0]] {
        let bytes = encoded(Kind::Message, payload);
        let (first, rest) = bytes.split_first().expect("not empty");
        let (last, middle) = rest.split_last().expect("longer");
        assert_eq!((*first, *last), (0, 0));
        assert!(!middle.contains(&0));
    }
}

#[test]
fn a_frame_that_is_too_long_is_noise_and_the_next_is_found() {
    let mut bytes = encoded(Kind::Message, &[9; 100]);
    bytes.extend(encoded(Kind::Ping, &[]));
    assert_eq!(decoded::<32>(&bytes), [(head(Kind::Ping), vec![])]);
}

#[test]
fn a_buffer_that_is_too_short_is_no_frame() {
    let whole = encoded(Kind::Message, &[1; 300]).len();
    for len in 0..whole {
        assert_eq!(
            encode(head(Kind::Message), &[1; 300], &mut vec![0; len]),
            None
        );
    }
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(payload in prop::collection::vec(any::<u8>(), 0..1200)) {
        let bytes = encoded(Kind::BlobAnswer, &payload);
        prop_assert!(bytes.len() <= encoded_bytes(payload.len()));
        prop_assert_eq!(decoded::<1300>(&bytes), vec![(head(Kind::BlobAnswer), payload)]);
    }

    #[test]
    fn long_runs_without_a_zero_come_out_too(len in 240usize..1030, zero in 0usize..1030) {
        let mut payload = vec![0x55; len];
        if let Some(byte) = payload.get_mut(zero) {
            *byte = 0;
        }
        let bytes = encoded(Kind::Message, &payload);
        prop_assert_eq!(decoded::<1300>(&bytes), vec![(head(Kind::Message), payload)]);
    }

    #[test]
    fn noise_is_no_frame_and_hides_none(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = noise;
        bytes.extend(encoded(Kind::Pong, b"x"));
        let found = decoded::<64>(&bytes);
        prop_assert_eq!(found.last(), Some(&(head(Kind::Pong), b"x".to_vec())));
        prop_assert_eq!(found.len(), 1, "a checksum of 32 bits was right by chance");
    }

    #[test]
    fn one_flipped_bit_is_noticed(at in 1usize..40, bit in 0u8..8) {
        let mut bytes = encoded(Kind::Message, b"thirty bytes of some message..");
        let at = at.min(bytes.len() - 2);
        bytes[at] ^= 1 << bit;
        prop_assert!(decoded::<64>(&bytes).is_empty());
    }
}
