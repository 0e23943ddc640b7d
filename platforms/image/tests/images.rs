//! Images as a device judges them: what is accepted, and each reason to refuse.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use ed25519_dalek::SigningKey;
use lightship_image::builder::{self, BuildError, Recipe};
use lightship_image::check::{Accept, Place, Span};
use lightship_image::dalek::Dalek;
use lightship_image::{Entry, HEADER_LEN, Header, Reject, Version};
use proptest::prelude::*;

const LOAD: u32 = 0x0801_0100;
const STACK: Span = Span {
    start: 0x2000_0000,
    len: 0x1_0000,
};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn recipe() -> Recipe<'static> {
    Recipe {
        board: "stm32f4",
        device_type: "pump",
        version: Version {
            major: 1,
            minor: 2,
            patch: 3,
        },
        security_version: 4,
        load: LOAD,
        entry: LOAD + 0x100,
        kind: Entry::VectorTable,
    }
}

/// Padding to the vector table's alignment, then the table, then code.
fn body() -> Vec<u8> {
    let mut body = vec![0xFF; 0x100];
    body.extend((STACK.start + STACK.len).to_le_bytes());
    body.extend((LOAD + 0x109).to_le_bytes());
    body.extend(b"code of the firmware");
    body
}

fn make(recipe: &Recipe<'_>, body: &[u8]) -> Vec<u8> {
    builder::build(recipe, body, |message| builder::sign(&key(), message)).unwrap()
}

fn judge_with(change: impl Fn(&mut Accept<'_>), image: &[u8]) -> Result<Header, Reject> {
    let keys = [[9; 32], key().verifying_key().to_bytes()];
    let mut accept = Accept {
        keys: &keys,
        board: "stm32f4",
        device_type: "pump",
        floor: 4,
        capacity: 0x1000,
        place: Place::At(LOAD - HEADER_LEN as u32),
        stack: STACK,
    };
    change(&mut accept);
    let Some((header, rest)) = image.split_first_chunk() else {
        return Err(Reject::Truncated);
    };
    let header = accept.header(&Dalek, header)?;
    let mut check = accept.body(&header);
    rest.chunks(7).for_each(|chunk| check.update(chunk));
    check.finish()?;
    Ok(header)
}

fn judge(image: &[u8]) -> Result<Header, Reject> {
    judge_with(|_| (), image)
}

/// A header that says what the builder would refuse to make, properly signed.
fn signed(change: impl Fn(&mut Header), body: &[u8]) -> Vec<u8> {
    let image = make(&recipe(), body);
    let mut header = Header::decode(image.first_chunk().unwrap()).unwrap();
    change(&mut header);
    let message = header.encode();
    [&message[..], &builder::sign(&key(), &message), body].concat()
}

#[test]
fn a_device_accepts_an_image_made_for_it() {
    let header = judge(&make(&recipe(), &body())).unwrap();
    assert_eq!(header.version.to_string(), "1.2.3");
    assert_eq!((header.security_version, header.entry), (4, LOAD + 0x100));
}

#[test]
fn the_same_recipe_and_body_make_the_same_bytes() {
    assert_eq!(make(&recipe(), &body()), make(&recipe(), &body()));
}

#[test]
fn every_bit_of_an_image_is_covered() {
    let image = make(&recipe(), &body());
    for at in 0..image.len() {
        let mut forged = image.clone();
        forged[at] ^= 1 << (at % 8);
        let expected = match at {
            0..16 => Reject::NoImage,
            16..HEADER_LEN => Reject::BadSignature,
            _ => Reject::WrongDigest,
        };
        assert_eq!(judge(&forged), Err(expected), "byte {at}");
    }
}

#[test]
fn a_header_is_refused_for_what_it_says() {
    type Change = fn(&mut Accept<'_>);
    let cases: [(Change, Reject); 7] = [
        (|accept| accept.keys = &[], Reject::BadSignature),
        (|accept| accept.board = "stm32f", Reject::WrongBoard),
        (
            |accept| accept.device_type = "pumps",
            Reject::WrongDeviceType,
        ),
        (|accept| accept.floor = 5, Reject::BelowFloor),
        (|accept| accept.capacity = 0x21B, Reject::TooLarge),
        (|accept| accept.capacity = 0, Reject::TooLarge),
        (|accept| accept.place = Place::At(LOAD), Reject::WrongPlace),
    ];
    let image = make(&recipe(), &body());
    for (change, expected) in cases {
        assert_eq!(judge_with(change, &image), Err(expected));
    }
    assert!(judge_with(|accept| accept.capacity = 0x21C, &image).is_ok());
}

#[test]
fn an_image_that_runs_from_ram_must_fit_the_ram() {
    let image = make(&recipe(), &body());
    let within = |start, len| {
        judge_with(
            |accept| accept.place = Place::Within(Span { start, len }),
            &image,
        )
        .map(|_| ())
    };
    assert_eq!(within(LOAD, 0x11C), Ok(()));
    assert_eq!(within(LOAD, 0x11B), Err(Reject::WrongPlace));
    assert_eq!(within(LOAD + 1, 0x1000), Err(Reject::WrongPlace));
    assert_eq!(within(0xFFFF_FFFF, u32::MAX), Err(Reject::WrongPlace));
}

#[test]
fn an_entry_outside_the_body_is_refused_even_when_it_is_signed() {
    for entry in [0, LOAD - 0x80, LOAD + 4, LOAD + 0x180, !127] {
        let image = signed(|header| header.entry = entry, &body());
        assert_eq!(judge(&image), Err(Reject::EntryOutside), "{entry:#x}");
    }
    for entry in [LOAD - 4, LOAD + 2, LOAD + 0x11C] {
        let jump = |header: &mut Header| (header.kind, header.entry) = (Entry::Jump, entry);
        assert_eq!(
            judge(&signed(jump, &body())),
            Err(Reject::EntryOutside),
            "{entry:#x}"
        );
    }
}

#[test]
fn a_vector_table_that_points_outside_is_refused() {
    let with = |at: usize, word: u32| {
        let mut body = body();
        body[at..at + 4].copy_from_slice(&word.to_le_bytes());
        let refused = builder::build(&recipe(), &body, |message| builder::sign(&key(), message));
        let signed = signed(|header| header.digest = sha256(&body), &self::body());
        (
            refused.err(),
            judge(&[&signed[..HEADER_LEN], &body].concat()),
        )
    };
    for reset in [LOAD + 0x108, LOAD - 1, LOAD + 0x11D, 0, u32::MAX] {
        let (refused, judged) = with(0x104, reset);
        assert_eq!(
            refused,
            Some(BuildError::Unbootable(Reject::ResetOutside)),
            "{reset:#x}"
        );
        assert_eq!(judged, Err(Reject::ResetOutside), "{reset:#x}");
    }
    for stack in [
        STACK.start,
        STACK.start + STACK.len + 8,
        STACK.start + 12,
        0,
        u32::MAX,
    ] {
        assert_eq!(
            with(0x100, stack).1,
            Err(Reject::StackOutside),
            "{stack:#x}"
        );
    }
}

#[test]
fn a_body_of_another_length_is_refused() {
    let image = make(&recipe(), &body());
    assert_eq!(judge(&image[..image.len() - 1]), Err(Reject::Truncated));
    assert_eq!(
        judge(&[&image[..], b"x"].concat()),
        Err(Reject::TrailingBytes)
    );
    assert_eq!(
        judge(&signed(|header| header.size = 0, &body())),
        Err(Reject::Empty)
    );
    let huge = signed(|header| header.size = u32::MAX, &body());
    assert_eq!(judge(&huge), Err(Reject::TooLarge));
}

#[test]
fn a_name_that_is_none_is_not_built() {
    let recipe = Recipe {
        board: "My Board",
        ..recipe()
    };
    let built = builder::build(&recipe, &body(), |message| builder::sign(&key(), message));
    assert_eq!(built, Err(BuildError::Name("My Board".into())));
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    builder::artifact_digest(bytes)
}

proptest! {
    #[test]
    fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(judge(&bytes).is_err());
    }

    #[test]
    fn no_signed_header_makes_the_check_panic(
        fields in any::<[u32; 4]>(),
        body in proptest::collection::vec(any::<u8>(), 0..64),
        jump in any::<bool>(),
    ) {
        let image = signed(|header| {
            [header.security_version, header.size, header.load, header.entry] = fields;
            header.kind = if jump { Entry::Jump } else { Entry::VectorTable };
        }, &self::body());
        let image = [&image[..HEADER_LEN], &body].concat();
        let everywhere = Place::Within(Span { start: 0, len: u32::MAX });
        let judged = judge_with(|accept| (accept.place, accept.capacity) = (everywhere, u32::MAX), &image);
        prop_assert!(judged.is_err());
    }
}
