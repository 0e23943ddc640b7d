use super::*;

/// Writes a packet into this memory.
type Writer<'w> = &'w dyn Fn(&mut [u8]) -> Option<usize>;

/// What `write` makes in so much memory.
fn written(room: usize, write: impl Fn(&mut [u8]) -> Option<usize>) -> Option<usize> {
    let mut memory = [0; 20_000];
    let len = write(&mut memory[..room])?;
    assert!(len <= room);
    assert_eq!(super::super::packet::len(&memory[..len]), Ok(len));
    Some(len)
}

#[test]
fn what_does_not_fit_is_no_packet() {
    let name = "00000000-0000-4000-8000-000000000000";
    let connect = |memory: &mut [u8]| {
        let greeting = Greeting {
            name,
            password: "secret",
            presence: Some("d/x/presence"),
            keep_alive_s: 60,
            packet_bytes: 2304,
        };
        Draft::connect(memory, &greeting).finish()
    };
    let subscribe = |memory: &mut [u8]| {
        let mut draft = Draft::subscribe(memory, 1);
        draft.filter(name);
        draft.finish()
    };
    let publish = |memory: &mut [u8]| {
        let heading = Heading {
            topic: name,
            id: 7,
            is_retained: false,
            reply: Some((name, 9)),
        };
        let mut draft = Draft::publish(memory, &heading);
        draft.put(&[1; 100]);
        draft.finish()
    };
    let acknowledge = |memory: &mut [u8]| Draft::acknowledge(memory, 1).finish();
    let ping = |memory: &mut [u8]| Draft::ping(memory).finish();
    let all: [Writer<'_>; 5] = [&connect, &subscribe, &publish, &acknowledge, &ping];
    for write in all {
        let len = written(1000, write).unwrap();
        // A short packet is written one byte further on, and moved.
        for room in 0..len {
            assert_eq!(written(room, write), None, "{room} of {len}");
        }
        assert_eq!(written(len + 1, write), Some(len));
    }
}

#[test]
fn a_length_has_no_more_bytes_than_it_needs() {
    for (payload, head) in [(0, 2), (124, 2), (125, 3), (16_380, 3)] {
        let len = written(20_000, |memory| {
            let mut draft = Draft::subscribe(memory, 1);
            draft.grow(Some(payload));
            draft.finish()
        });
        assert_eq!(len, Some(head + 3 + payload));
    }
    let too_long = written(20_000, |memory| {
        let mut draft = Draft::subscribe(memory, 1);
        draft.grow(Some(16_381));
        draft.finish()
    });
    assert_eq!(too_long, None);
}

#[test]
fn a_payload_that_did_not_fit_and_an_endless_topic_are_no_packets() {
    let mut memory = [0; 100];
    let mut draft = Draft::subscribe(&mut memory, 1);
    draft.grow(None);
    draft.put(&[]);
    draft.grow(Some(1));
    assert_eq!(draft.finish(), None);
    let long = str::from_utf8(&[b'x'; 121]).unwrap();
    let heading = Heading {
        topic: "t",
        id: 1,
        is_retained: false,
        reply: Some((long, 1)),
    };
    assert_eq!(
        written(1000, |memory| Draft::publish(memory, &heading).finish()),
        None,
        "its properties would need a longer length"
    );
}
