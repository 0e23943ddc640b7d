extern crate std;

use std::vec::Vec;

use super::*;

/// One of each kind, with and without what may be left out.
const SAMPLES: [&[u8]; 14] = [
    &[0x20, 3, 0, 0, 0],
    &[
        0x20, 23, 1, 0, 20, 0x21, 0, 10, 0x27, 0, 0, 4, 0, 0x13, 0, 60, 0x24, 1, 0x26, 0, 1, b'k',
        0, 1, b'v',
    ],
    &[0x20, 3, 0, 0x87, 0],
    &[0x30, 6, 0, 1, b't', 0, b'h', b'i'],
    &[0x32, 8, 0, 1, b't', 0, 7, 0, b'h', b'i'],
    &[0x33, 13, 0, 1, b't', 0, 7, 5, 0x02, 0, 0, 0, 9, b'h', b'i'],
    &[0x32, 9, 0, 1, b't', 0, 7, 3, 0x0b, 0xff, 0x7f],
    &[0x40, 2, 0, 7],
    &[0x40, 3, 0, 7, 0x10],
    &[0x40, 8, 0, 7, 0x87, 4, 0x1f, 0, 1, b'r'],
    &[0x90, 6, 0, 7, 0, 1, 1, 1],
    &[0xd0, 0],
    &[0xe0, 0],
    &[0xe0, 2, 0x8e, 0],
];

/// A packet of this kind.
fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = std::vec![head, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

/// A CONNACK with these properties.
fn welcome(properties: &[u8]) -> Vec<u8> {
    let len = u8::try_from(properties.len()).unwrap();
    packet(0x20, &[&[0, 0, len], properties].concat())
}

const GARBAGE: Result<Packet<'_>, Misconduct> = Err(Misconduct::Garbage);

#[test]
fn each_kind_says_what_it_says() {
    for sample in SAMPLES {
        assert!(decode(sample).is_ok(), "{sample:x?}");
    }
    let terms = Terms {
        is_resumed: true,
        receive_maximum: 10,
        packet_bytes: 1024,
        keep_alive_s: Some(60),
    };
    assert_eq!(decode(SAMPLES[1]), Ok(Packet::Welcome(terms)));
    assert_eq!(decode(SAMPLES[2]), Ok(Packet::Refusal(0x87)));
    let (topic, payload) = (&b"t"[..], &b"hi"[..]);
    for (at, id) in [(3, 0), (4, 7), (5, 7)] {
        let publish = Publish { topic, id, payload };
        assert_eq!(decode(SAMPLES[at]), Ok(Packet::Publish(publish)));
    }
    for (at, reason) in [(7, 0), (8, 0x10), (9, 0x87)] {
        let expected = Packet::Acknowledgement { id: 7, reason };
        assert_eq!(decode(SAMPLES[at]), Ok(expected));
    }
    let reasons = &[1, 1, 1][..];
    assert_eq!(
        decode(SAMPLES[10]),
        Ok(Packet::Subscribed { id: 7, reasons })
    );
    assert_eq!(decode(SAMPLES[11]), Ok(Packet::Alive));
    assert_eq!(decode(SAMPLES[12]), Ok(Packet::Farewell(0)));
    assert_eq!(decode(SAMPLES[13]), Ok(Packet::Farewell(0x8e)));
}

#[test]
fn a_packet_that_is_cut_off_is_never_taken_for_a_whole_one() {
    for sample in SAMPLES {
        for end in 0..sample.len() {
            let start = &sample[..end];
            assert!(len(start).unwrap() > end, "{start:x?}");
            assert_eq!(decode(start), Err(Misconduct::Length), "{start:x?}");
        }
        let longer = [sample, &[0]].concat();
        assert_eq!(decode(&longer), Err(Misconduct::Length));
    }
}

#[test]
fn a_packet_that_lacks_its_end_is_read_or_refused_and_no_more() {
    for sample in SAMPLES {
        for end in 2..sample.len() {
            let shorter = packet(sample[0], &sample[2..end]);
            let Ok(read) = decode(&shorter) else {
                continue;
            };
            // Only what is optional, or a list, can lack its end.
            let may = matches!(
                read,
                Packet::Refusal(_)
                    | Packet::Publish(_)
                    | Packet::Acknowledgement { .. }
                    | Packet::Subscribed { .. }
                    | Packet::Farewell(_)
            );
            assert!(may, "{shorter:x?} is {read:?}");
        }
    }
}

#[test]
fn no_changed_byte_reaches_a_panic_or_beyond_the_packet() {
    let mut read = 0;
    for sample in SAMPLES {
        for at in 0..sample.len() {
            for byte in 0..=u8::MAX {
                let mut changed = sample.to_vec();
                changed[at] = byte;
                let inside = match decode(&changed) {
                    Ok(Packet::Publish(publish)) => publish.topic.len() + publish.payload.len(),
                    Ok(Packet::Subscribed { reasons, .. }) => reasons.len(),
                    Ok(_) => 0,
                    Err(_) => continue,
                };
                assert!(inside <= changed.len());
                read += 1;
            }
        }
    }
    assert!(read > 1000, "most changes are harmless: {read}");
}

#[test]
fn two_changed_bytes_do_not_either() {
    for sample in SAMPLES {
        for (first, second) in (0..sample.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            for byte in [0, 1, 2, 4, 0x7f, 0x80, 0xff] {
                for other in [0, 1, 2, 4, 0x7f, 0x80, 0xff] {
                    let mut changed = sample.to_vec();
                    (changed[first], changed[second]) = (byte, other);
                    let _ = decode(&changed);
                }
            }
        }
    }
}

#[test]
fn a_length_has_four_bytes_at_most() {
    assert_eq!(len(&[]), Ok(1));
    assert_eq!(len(&[0x30]), Ok(2));
    assert_eq!(len(&[0x30, 0xff, 0xff, 0xff]), Ok(5));
    assert_eq!(len(&[0x30, 0xff, 0xff, 0xff, 0x7f]), Ok(5 + 268_435_455));
    assert_eq!(
        len(&[0x30, 0xff, 0xff, 0xff, 0xff]),
        Err(Misconduct::Length)
    );
    assert_eq!(
        len(&[0x30, 0x80, 0x80, 0x80, 0x80, 0]),
        Err(Misconduct::Length)
    );
    // And so has that of the properties, which cannot be longer than the packet.
    let endless = packet(0x20, &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(decode(&endless), GARBAGE);
    let beyond = packet(0x20, &[0, 0, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(decode(&beyond), GARBAGE);
}

#[test]
fn what_reaches_beyond_its_packet_is_garbage() {
    assert_eq!(decode(&packet(0x30, &[0, 4, b't', 0, b'h'])), GARBAGE);
    assert_eq!(decode(&packet(0x30, &[0xff, 0xff, b't', 0])), GARBAGE);
    assert_eq!(decode(&packet(0x32, &[0, 1, b't', 0])), GARBAGE);
    assert_eq!(decode(&welcome(&[0x12, 0, 2, b'x'])), GARBAGE);
    assert_eq!(decode(&welcome(&[0x26, 0, 1, b'k', 0, 2, b'v'])), GARBAGE);
}

#[test]
fn nothing_that_counts_is_zero() {
    assert_eq!(decode(&welcome(&[0x21, 0, 0])), GARBAGE);
    assert_eq!(decode(&welcome(&[0x27, 0, 0, 0, 0])), GARBAGE);
    assert_eq!(decode(&packet(0x40, &[0, 0])), GARBAGE);
    assert_eq!(decode(&packet(0x90, &[0, 0, 0, 1])), GARBAGE);
    assert_eq!(decode(&packet(0x32, &[0, 1, b't', 0, 0, 0])), GARBAGE);
}

/// The table of section 2.2.2.2.
#[test]
fn every_property_is_stepped_over_by_its_type_and_no_other_is_known() {
    let of = |id: u8| -> Option<&'static [u8]> {
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => Some(&[1]),
            0x13 | 0x21..=0x23 => Some(&[0, 1]),
            0x02 | 0x11 | 0x18 | 0x27 => Some(&[0, 0, 1, 0]),
            0x0b => Some(&[0x80, 0x01]),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => Some(&[0, 2, 0, 0]),
            0x26 => Some(&[0, 1, b'k', 0, 0]),
            _ => None,
        }
    };
    for id in 0..=u8::MAX {
        let value = of(id).unwrap_or(&[0, 0, 0, 0]);
        // Behind it one that counts, to see that it is still found.
        let list = [&[id], value, &[0x21, 0, 9]].concat();
        let read = decode(&welcome(&list)).map(|packet| match packet {
            Packet::Welcome(terms) => terms.receive_maximum,
            other => panic!("{other:?}"),
        });
        match of(id) {
            Some(_) => assert_eq!(read, Ok(9), "{id:#x}"),
            None => assert_eq!(read, Err(Misconduct::Garbage), "{id:#x}"),
        }
    }
}

#[test]
fn what_is_not_for_a_device_is_no_packet() {
    for head in 0..=u8::MAX {
        let any = packet(head, &[0, 1, 1, 0]);
        let read = decode(&any);
        match head {
            0x34 | 0x35 | 0x3c | 0x3d => assert_eq!(read, Err(Misconduct::Sequence)),
            0x20 | 0x30..=0x3f | 0x40 | 0x90 | 0xe0 => {}
            _ => assert_eq!(read, GARBAGE, "{head:#x}"),
        }
    }
    // Exactly once with two bits is no level at all, and the flags of a CONNACK are one.
    assert_eq!(decode(&packet(0x36, &[0, 1, 1, 0, 1, 0])), GARBAGE);
    assert_eq!(decode(&packet(0x20, &[2, 0, 0])), GARBAGE);
    assert_eq!(decode(&packet(0x21, &[0, 0, 0])), GARBAGE);
    assert_eq!(decode(&packet(0xd0, &[0])), GARBAGE);
}

/// A broker of MQTT 3.1.1 refuses with a packet that has no properties.
#[test]
fn a_refusal_needs_nothing_but_its_reason() {
    assert_eq!(decode(&packet(0x20, &[0, 1])), Ok(Packet::Refusal(1)));
}
