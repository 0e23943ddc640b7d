extern crate std;

use std::vec::Vec;

use embassy_futures::{block_on, poll_once};

use super::super::draft::Draft;
use super::super::tape::Tape;
use super::*;

const MISBEHAVED: Failure = Failure::Misbehaved(Misconduct::Length);

/// Steps, each of which is dropped once when it waits.
fn drive(wire: &mut Wire<'_>, tape: &mut Tape) -> Result<(), Failure> {
    if let core::task::Poll::Ready(done) = poll_once(wire.step(tape)) {
        return done;
    }
    block_on(wire.step(tape))
}

#[test]
fn packets_come_whole_however_their_bytes_come() {
    let said = [&[0xd0, 0][..], &[0x40, 2, 0, 7], &[0xd0, 0]].concat();
    for step in 1..8 {
        let (mut rx, mut tx) = ([0; 8], [0; 8]);
        let mut wire = Wire::new(&mut rx, &mut tx);
        let mut tape = Tape::new(&said, step).with_pauses();
        let mut heard: Vec<u8> = Vec::new();
        while !tape.play.is_empty() {
            drive(&mut wire, &mut tape).unwrap();
            if let Some(packet) = wire.packet().unwrap() {
                heard.extend(packet);
                wire.taken();
            }
        }
        assert_eq!(heard, said);
        assert_eq!(drive(&mut wire, &mut tape), Err(BROKEN), "the end");
    }
}

#[test]
fn nothing_is_read_beyond_a_packet_that_was_not_taken() {
    let (mut rx, mut tx) = ([0; 8], [0; 8]);
    let mut wire = Wire::new(&mut rx, &mut tx);
    let mut tape = Tape::new(&[0xd0, 0, 0xd0, 0], 8);
    while wire.packet().unwrap().is_none() {
        block_on(wire.step(&mut tape)).unwrap();
    }
    assert!(poll_once(wire.step(&mut tape)).is_pending());
    assert_eq!(tape.play, [0xd0, 0]);
    // But it is written: there are signs of life.
    let ping = Draft::ping(wire.free()).finish();
    wire.queue(ping).unwrap();
    block_on(wire.step(&mut tape)).unwrap();
    assert_eq!(tape.record, [0xc0, 0]);
}

#[test]
fn a_write_that_was_dropped_goes_on_before_another_begins() {
    for step in 1..8 {
        let (mut rx, mut tx) = ([0; 8], [0; 8]);
        let mut wire = Wire::new(&mut rx, &mut tx);
        let mut tape = Tape::new(&[], step).with_pauses();
        let first = Draft::acknowledge(wire.free(), 0x0102).finish();
        wire.queue(first).unwrap();
        drive(&mut wire, &mut tape).unwrap();
        let second = Draft::ping(wire.free()).finish();
        wire.queue(second).unwrap();
        while !wire.is_idle() {
            drive(&mut wire, &mut tape).unwrap();
        }
        assert_eq!(tape.record, [0x40, 2, 1, 2, 0xc0, 0]);
        assert_eq!(tape.flushes, 0);
        drive(&mut wire, &mut tape).unwrap();
        assert_eq!(tape.flushes, 1);
    }
}

#[test]
fn a_packet_that_is_too_long_is_known_by_its_length() {
    for (said, room, expected) in [
        (&[0x32, 7][..], 8, Err(MISBEHAVED)),
        (&[0x32, 6], 8, Ok(())),
        (&[0x32, 0xff, 0xff, 0xff, 0x7f], 8, Err(MISBEHAVED)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff], 8, Err(MISBEHAVED)),
        (&[0x32], 0, Err(MISBEHAVED)),
        (&[0x32], 1, Err(MISBEHAVED)),
    ] {
        let (mut rx, mut tx) = ([0; 8], [0; 8]);
        let mut wire = Wire::new(&mut rx[..room], &mut tx);
        let mut tape = Tape::new(said, 1);
        let mut done = Ok(());
        while done.is_ok() && !tape.play.is_empty() {
            done = block_on(wire.step(&mut tape));
        }
        // The place for what comes next is where the length matters.
        let done = done.and_then(|()| wire.place().map(|_| ()));
        assert_eq!(done, expected, "{said:?} in {room}");
    }
}

#[test]
fn what_the_broker_does_not_take_is_not_sent() {
    let (mut rx, mut tx) = ([0; 8], [0; 8]);
    let mut wire = Wire::new(&mut rx, &mut tx);
    wire.limit(3);
    let draft = Draft::acknowledge(wire.free(), 1).finish();
    assert_eq!(wire.queue(draft), Err(Failure::TooLarge));
    let draft = Draft::ping(wire.free()).finish();
    assert_eq!(wire.queue(draft), Ok(()));
    assert_eq!(wire.queue(None), Err(Failure::TooLarge));
}
