//! What minimq does not tell and does not do, seen to on the stream below it.
//!
//! It drops the reason of a DISCONNECT, knows only some reasons of a CONNACK and does not say when a packet is too long; they are read here as they pass.
//! And it asks for a clean start whenever it begins, by which a broker forgets what it kept over a power cut of the device; here it asks for none.
//! A session that the broker has and the device has forgotten does no harm: without QoS 2 it holds nothing but messages that come once more.

use core::sync::atomic::{AtomicU16, Ordering};

use embedded_io_async::{ErrorType, Read, Write};
use lightship_link::{Failure, Misconduct, Unreachable};

/// Bytes of a CONNECT's variable header before its flags: the protocol's name and version.
const BEFORE_FLAGS: u32 = 7;
const CLEAN_START: u8 = 0b10;

/// What was overheard on one stream.
#[derive(Debug, Default)]
pub(super) struct Overheard(AtomicU16);

const CONNACK: u16 = 0x100;
const DISCONNECT: u16 = 0x200;
const TOO_LONG: u16 = 0x300;

impl Overheard {
    pub(super) const fn new() -> Self {
        Self(AtomicU16::new(0))
    }

    fn note(&self, what: u16) {
        self.0.store(what, Ordering::Relaxed);
    }

    /// The failure, more exactly, if more was heard of it.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        let heard = self.0.load(Ordering::Relaxed);
        let code = heard & 0xff;
        match (heard & 0xff00, failure) {
            (CONNACK, _) if code >= 0x80 => refused(code),
            (DISCONNECT, Failure::Unreachable(Unreachable::Broken)) => disconnected(code),
            (TOO_LONG, Failure::Misbehaved(_)) => Failure::Misbehaved(Misconduct::Length),
            _ => failure,
        }
    }
}

fn refused(code: u16) -> Failure {
    let retry_after_s = None;
    match code {
        0x86 | 0x87 | 0x8a | 0x8c => Failure::Refused { retry_after_s },
        0x88 | 0x89 | 0x97 | 0x9f => Failure::Busy { retry_after_s },
        0x95 => Failure::TooLarge,
        _ => Failure::Misbehaved(Misconduct::Sequence),
    }
}

fn disconnected(code: u16) -> Failure {
    let retry_after_s = None;
    match code {
        0x8e => Failure::TakenOver,
        0x87 | 0x98 => Failure::Refused { retry_after_s },
        0x89 | 0x96 | 0x97 | 0x9f => Failure::Busy { retry_after_s },
        0x8d => Failure::Unreachable(Unreachable::Silent),
        0x95 => Failure::TooLarge,
        _ => Failure::Unreachable(Unreachable::Broken),
    }
}

/// Where in its packets one direction is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Start,
    Length { kind: u8, len: u32, shift: u32 },
    Body { kind: u8, at: u32, len: u32 },
}

impl Place {
    /// Goes on by one byte.
    fn step(self, byte: u8) -> Self {
        match self {
            Self::Start => Self::Length {
                kind: byte & 0xf0,
                len: 0,
                shift: 0,
            },
            Self::Length { kind, len, shift } => {
                let len = len | (u32::from(byte & 0x7f) << shift);
                match byte & 0x80 {
                    // A fourth byte that wants a fifth is refused by minimq; here it only must not overflow.
                    0x80 if shift < 21 => Self::Length {
                        kind,
                        len,
                        shift: shift + 7,
                    },
                    _ => Self::body(kind, 0, len),
                }
            }
            Self::Body { kind, at, len } => Self::body(kind, at + 1, len),
        }
    }

    fn body(kind: u8, at: u32, len: u32) -> Self {
        match at < len {
            true => Self::Body { kind, at, len },
            false => Self::Start,
        }
    }
}

/// A stream that is listened to.
pub(super) struct Stream<'o, S> {
    inner: S,
    overheard: &'o Overheard,
    /// Longest packet that there is room for.
    room: u32,
    incoming: Place,
    outgoing: Place,
}

impl<'o, S> Stream<'o, S> {
    pub(super) fn new(inner: S, overheard: &'o Overheard, room: usize) -> Self {
        overheard.note(0);
        Self {
            inner,
            overheard,
            room: u32::try_from(room).unwrap_or(u32::MAX),
            incoming: Place::Start,
            outgoing: Place::Start,
        }
    }

    fn hear(&mut self, byte: u8) {
        match self.incoming {
            Place::Body {
                kind: 0x20, at: 1, ..
            } => self.overheard.note(CONNACK | u16::from(byte)),
            Place::Body {
                kind: 0xe0, at: 0, ..
            } => self.overheard.note(DISCONNECT | u16::from(byte)),
            Place::Start | Place::Length { .. } | Place::Body { .. } => {}
        }
        self.incoming = self.incoming.step(byte);
        if let Place::Body { len, at: 0, .. } = self.incoming
            && len > self.room
        {
            self.overheard.note(TOO_LONG);
        }
    }

    fn is_at_flags(&self) -> bool {
        matches!(
            self.outgoing,
            Place::Body {
                kind: 0x10,
                at: BEFORE_FLAGS,
                ..
            }
        )
    }
}

impl<S: ErrorType> ErrorType for Stream<'_, S> {
    type Error = S::Error;
}

impl<S: Read> Read for Stream<'_, S> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, S::Error> {
        let len = self.inner.read(into).await?;
        into[..len].iter().for_each(|byte| self.hear(*byte));
        Ok(len)
    }
}

impl<S: Write> Write for Stream<'_, S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, S::Error> {
        if let Some(flags) = bytes.first()
            && self.is_at_flags()
        {
            let written = self.inner.write(&[flags & !CLEAN_START]).await?;
            if written > 0 {
                self.outgoing = self.outgoing.step(*flags);
            }
            return Ok(written);
        }
        // Up to the flags, if they lie in here.
        let mut place = self.outgoing;
        let mut end = bytes.len();
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(
                place,
                Place::Body {
                    kind: 0x10,
                    at: BEFORE_FLAGS,
                    ..
                }
            ) {
                end = at;
                break;
            }
            place = place.step(*byte);
        }
        let written = self.inner.write(&bytes[..end]).await?;
        for byte in &bytes[..written] {
            self.outgoing = self.outgoing.step(*byte);
        }
        Ok(written)
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.inner.flush().await
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use embassy_futures::block_on;

    use super::*;

    /// Reads what it was given and keeps what is written, a few bytes at a time.
    struct Tape {
        play: &'static [u8],
        record: Vec<u8>,
        step: usize,
    }

    impl ErrorType for Tape {
        type Error = core::convert::Infallible;
    }

    impl Read for Tape {
        async fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
            let len = self.step.min(into.len()).min(self.play.len());
            into[..len].copy_from_slice(&self.play[..len]);
            self.play = &self.play[len..];
            Ok(len)
        }
    }

    impl Write for Tape {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
            let len = self.step.min(bytes.len());
            self.record.extend(&bytes[..len]);
            Ok(len)
        }

        async fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    fn tape(play: &'static [u8], step: usize) -> Tape {
        Tape {
            play,
            record: Vec::new(),
            step,
        }
    }

    fn explained(play: &'static [u8], failure: Failure) -> Failure {
        for step in 1..20 {
            let overheard = Overheard::new();
            let mut stream = Stream::new(tape(play, step), &overheard, 100);
            let mut into = [0; 7];
            while block_on(stream.read(&mut into)) != Ok(0) {}
            let explained = overheard.explain(failure);
            if step == 19 {
                return explained;
            }
        }
        failure
    }

    #[test]
    fn the_reasons_of_a_broker_are_overheard() {
        let broken = Failure::Unreachable(Unreachable::Broken);
        let garbage = Failure::Misbehaved(Misconduct::Garbage);
        // CONNACK, PINGRESP, then a DISCONNECT: session taken over.
        let taken = &[0x20, 3, 0, 0, 0, 0xd0, 0, 0xe0, 2, 0x8e, 0];
        assert_eq!(explained(taken, broken), Failure::TakenOver);
        assert_eq!(explained(taken, garbage), garbage);
        let banned = &[0x20, 3, 0, 0x8a, 0];
        let retry_after_s = None;
        assert_eq!(
            explained(banned, garbage),
            Failure::Refused { retry_after_s }
        );
        let length = Failure::Misbehaved(Misconduct::Length);
        assert_eq!(explained(&[0x32, 0xff, 0xff, 0xff, 0x7f], garbage), length);
        assert_eq!(explained(&[0x32, 101], garbage), length);
        assert_eq!(explained(&[0x32, 100], garbage), garbage);
        assert_eq!(explained(&[0x20, 3, 0, 0, 0], broken), broken);
    }

    #[test]
    fn a_clean_start_is_asked_for_by_nobody_and_nothing_else_is_changed() {
        let mut connect = Vec::from([0x10, 0x82, 0x01, 0, 4]);
        connect.extend(b"MQTT\x05\xc6\x00\x3c");
        connect.resize(3 + 130, 0xff);
        // What follows has the same bytes at the same place, and is no CONNECT.
        let mut publish = connect.clone();
        publish[0] = 0x30;
        for step in 1..140 {
            let overheard = Overheard::new();
            let mut stream = Stream::new(tape(&[], step), &overheard, 100);
            block_on(stream.write_all(&connect)).unwrap();
            block_on(stream.write_all(&publish)).unwrap();
            let (first, second) = stream.inner.record.split_at(connect.len());
            assert_eq!(first[10], 0xc4);
            assert_eq!(
                (&first[..10], &first[11..]),
                (&connect[..10], &connect[11..])
            );
            assert_eq!(second, publish);
        }
    }
}
