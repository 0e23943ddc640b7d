//! Frames: `COBS(kind, session, sequence, payload, CRC-32)` and a zero byte.
//!
//! COBS is that of Cheshire and Baker, "Consistent Overhead Byte Stuffing" (SIGCOMM 1997); the CRC is CRC-32/ISO-HDLC.

use crate::limits::FRAME_OVERHEAD;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device asks for a session.
    Hello,
    /// It has one.
    Welcome,
    /// It has none.
    Sorry,
    /// A message.
    Message,
    /// A message was handled.
    Acknowledgement,
    /// A message could not be read.
    Rejection,
    /// A question for a piece of a blob.
    BlobRequest,
    /// Its answer.
    BlobAnswer,
    /// Is anybody there?
    Ping,
    /// Yes.
    Pong,
    /// This session is over, or unknown.
    Bye,
    /// A message has arrived and is being handled.
    Wait,
}

const KINDS: [Kind; 12] = [
    Kind::Hello,
    Kind::Welcome,
    Kind::Sorry,
    Kind::Message,
    Kind::Acknowledgement,
    Kind::Rejection,
    Kind::BlobRequest,
    Kind::BlobAnswer,
    Kind::Ping,
    Kind::Pong,
    Kind::Bye,
    Kind::Wait,
];

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// The connection that it belongs to.
    pub session: u8,
    /// Which message it is or speaks of.
    pub sequence: u8,
}

/// A frame that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub head: Head,
    /// What it carries.
    pub payload: &'a [u8],
}

/// CRC-32/ISO-HDLC, going on from `crc`.
fn crc(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = 0u32.wrapping_sub(crc & 1);
            crc >> 1 ^ 0xedb8_8320 & carry
        })
    })
}

/// Writes a frame, with a zero byte before and after it, and returns how long it is; nothing when `out` is too short.
///
/// It needs the payload, [`FRAME_OVERHEAD`], two zeros, and a byte for every 254.
pub fn encode(head: Head, payload: &[u8], out: &mut [u8]) -> Option<usize> {
    let kind = KINDS.iter().position(|kind| *kind == head.kind)?;
    let head = [u8::try_from(kind + 1).ok()?, head.session, head.sequence];
    let sum = !crc(crc(u32::MAX, &head), payload);
    let sum = sum.to_le_bytes();
    let mut stuffer = Stuffer::new(out)?;
    for byte in head.iter().chain(payload).chain(&sum) {
        stuffer.push(*byte)?;
    }
    stuffer.end()
}

/// Longest encoding of a frame with this payload.
pub const fn encoded_bytes(payload: usize) -> usize {
    let len = payload + FRAME_OVERHEAD;
    len + len.div_ceil(254) + 2
}

struct Stuffer<'a> {
    out: &'a mut [u8],
    at: usize,
    /// Where the length of the present run is to be written.
    run_at: usize,
    run: u8,
}

impl<'a> Stuffer<'a> {
    fn new(out: &'a mut [u8]) -> Option<Self> {
        *out.first_mut()? = 0;
        Some(Self {
            out,
            at: 2,
            run_at: 1,
            run: 1,
        })
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        if self.run == 0xff {
            self.close()?;
        }
        if byte == 0 {
            return self.close();
        }
        *self.out.get_mut(self.at)? = byte;
        self.at += 1;
        self.run += 1;
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        *self.out.get_mut(self.run_at)? = self.run;
        self.run_at = self.at;
        self.at += 1;
        self.run = 1;
        Some(())
    }

    fn end(mut self) -> Option<usize> {
        self.close()?;
        // The byte that `close` kept for another run is the end of the frame instead.
        *self.out.get_mut(self.run_at)? = 0;
        Some(self.run_at + 1)
    }
}

/// Finds frames among bytes. `N` is the longest frame without its stuffing.
#[derive(Clone, Debug)]
pub struct Decoder<const N: usize> {
    bytes: [u8; N],
    len: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next byte begins a frame.
    Fresh,
    /// So many bytes of a run are to come; a zero of the data follows it, unless it was a full one.
    Run { left: u8, is_full: bool },
    /// What comes until the next zero byte is noise.
    Noise,
}

impl<const N: usize> Decoder<N> {
    /// A decoder that waits for a frame.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            state: State::Fresh,
        }
    }

    /// Takes a byte. True when it ends a frame that is whole; [`frame`](Self::frame) has it until the next byte.
    pub fn push(&mut self, byte: u8) -> bool {
        let state = self.state;
        if byte == 0 {
            self.state = State::Fresh;
            return matches!(state, State::Run { left: 0, .. }) && self.frame().is_some();
        }
        let run = State::Run {
            left: byte - 1,
            is_full: byte == 0xff,
        };
        self.state = match state {
            State::Fresh => {
                self.len = 0;
                run
            }
            State::Run { left: 0, is_full } => match is_full || self.put(0) {
                true => run,
                false => State::Noise,
            },
            State::Run { left, is_full } => match self.put(byte) {
                true => State::Run {
                    left: left - 1,
                    is_full,
                },
                false => State::Noise,
            },
            State::Noise => State::Noise,
        };
        false
    }

    fn put(&mut self, byte: u8) -> bool {
        let place = self.bytes.get_mut(self.len);
        let fits = place.is_some();
        if let Some(place) = place {
            *place = byte;
            self.len += 1;
        }
        fits
    }

    /// The frame that the last byte ended, if its checksum is right.
    pub fn frame(&self) -> Option<Frame<'_>> {
        let (rest, sum) = self.bytes[..self.len].split_last_chunk::<4>()?;
        if !crc(u32::MAX, rest) != u32::from_le_bytes(*sum) {
            return None;
        }
        let ([kind, session, sequence], payload) = rest.split_first_chunk::<3>()?;
        let kind = *KINDS.get(usize::from(*kind).checked_sub(1)?)?;
        let head = Head {
            kind,
            session: *session,
            sequence: *sequence,
        };
        Some(Frame { head, payload })
    }
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
