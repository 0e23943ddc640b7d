//! Blobs in pieces, for transports that have no ranges of their own.
//!
//! A device asks for a piece and gets an answer to that question; it asks again when none comes.
//! The far end keeps nothing between two questions, so a read goes on after any restart of either side.

mod exchange;

pub use exchange::{Asked, Exchange, Reader, Slot};

use lightship_core::codec::{self, Decode, Encode, Writer, fields};
use lightship_core::id::Digest;
use lightship_core::wire::Rejection;

use crate::limits::{CHUNK_BYTES, CHUNK_OVERHEAD};

/// Longest encoded request, in bytes.
pub const REQUEST_BYTES: usize = 64;
/// Longest encoded answer, in bytes.
pub const ANSWER_BYTES: usize = CHUNK_BYTES + CHUNK_OVERHEAD;

/// Asks for a piece of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the device; the answer repeats it, so that a late answer is not taken for another.
    pub id: u32,
    /// The blob.
    pub digest: Digest,
    /// Where to begin.
    pub offset: u64,
    /// Most bytes to send; a far end never sends more than [`CHUNK_BYTES`].
    pub max: u32,
}

/// The answer to a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Repeats [`Request::id`].
    pub id: u32,
    /// What is said.
    pub piece: Piece<'a>,
}

/// What a far end says to a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the blob from the offset; none at its end or beyond.
    Bytes(&'a [u8]),
    /// There is no such blob for this device.
    Absent,
    /// Not now.
    Busy,
}

fields!(Request {
    id,
    digest,
    offset,
    max
});
fields!(Answer<'a> { id, piece });

impl Encode for Piece<'_> {
    fn encode(&self, to: &mut Writer<'_>) {
        match self {
            Self::Bytes(bytes) => {
                to.byte(0);
                to.run(bytes);
            }
            Self::Absent => to.byte(1),
            Self::Busy => to.byte(2),
        }
    }
}

impl<'a> Decode<'a> for Piece<'a> {
    fn decode(from: &mut codec::Reader<'a>) -> Self {
        match from.tag(3) {
            0 => Self::Bytes(from.run()),
            1 => Self::Absent,
            _ => Self::Busy,
        }
    }
}

/// Writes a request or an answer in postcard and returns what was written.
///
/// # Errors
///
/// [`Rejection::TooLarge`] when `out` is too short.
pub fn encode<'o, T: Encode>(message: &T, out: &'o mut [u8]) -> Result<&'o [u8], Rejection> {
    let mut to = Writer::new(out);
    message.encode(&mut to);
    let len = to.end().ok_or(Rejection::TooLarge)?;
    Ok(&out[..len])
}

/// Reads a request or an answer; nothing may follow it.
///
/// # Errors
///
/// A [`Rejection`] that says why not.
pub fn decode<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, Rejection> {
    if bytes.is_empty() {
        return Err(Rejection::Empty);
    }
    if bytes.len() > ANSWER_BYTES {
        return Err(Rejection::TooLarge);
    }
    let mut from = codec::Reader::new(bytes);
    let message = T::decode(&mut from);
    match from.end() {
        Some([]) => Ok(message),
        Some(_) => Err(Rejection::TrailingBytes),
        None => Err(Rejection::Undecodable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_messages_fit_their_bounds() {
        let mut out = [0; ANSWER_BYTES];
        let request = Request {
            id: u32::MAX,
            digest: Digest([0xff; 32]),
            offset: u64::MAX,
            max: u32::MAX,
        };
        let written = encode(&request, &mut out[..REQUEST_BYTES]).unwrap();
        assert_eq!(decode(written), Ok(request));
        let answer = Answer {
            id: u32::MAX,
            piece: Piece::Bytes(&[0xff; CHUNK_BYTES]),
        };
        let written = encode(&answer, &mut out).unwrap();
        assert_eq!(decode(written), Ok(answer));
    }

    #[test]
    fn what_is_not_a_chunk_is_rejected_by_name() {
        assert_eq!(decode::<Answer<'_>>(&[]), Err(Rejection::Empty));
        assert_eq!(decode::<Answer<'_>>(&[0, 9]), Err(Rejection::Undecodable));
        assert_eq!(
            decode::<Answer<'_>>(&[0, 0, 9, 1]),
            Err(Rejection::Undecodable)
        );
        assert_eq!(
            decode::<Answer<'_>>(&[0, 1, 1]),
            Err(Rejection::TrailingBytes)
        );
        let long = [0; ANSWER_BYTES + 1];
        assert_eq!(decode::<Answer<'_>>(&long), Err(Rejection::TooLarge));
    }
}
