//! Messages in JSON (RFC 8259), through serde-json-core: no allocation, bounded depth.

use base64ct::{Base64 as Standard, Encoding};
use core::fmt;
use serde::Serialize;

use super::{Blob, Down, Rejection, SignedRoot, SignedTarget, Up};
use crate::limits::{JSON_DEPTH, MESSAGE_BYTES};

/// Longest JSON text of a message, in bytes: base64 is a third longer than what it encodes, and names take room.
pub const TEXT_BYTES: usize = MESSAGE_BYTES * 2;

/// Shows bytes as base64, piece by piece, without memory for the whole.
pub(super) struct Base64<'a>(pub(super) &'a [u8]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        for piece in self.0.chunks(48) {
            f.write_str(Standard::encode(piece, &mut text).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

/// Writes a message as JSON and returns the text.
///
/// # Errors
///
/// [`Rejection::TooLarge`] when `out` is too short.
pub fn encode<'o, T: Serialize>(message: &T, out: &'o mut [u8]) -> Result<&'o str, Rejection> {
    let len = serde_json_core::to_slice(message, out).map_err(|_| Rejection::TooLarge)?;
    core::str::from_utf8(&out[..len]).map_err(|_| Rejection::Undecodable)
}

/// Reads a device's message.
///
/// # Errors
///
/// A [`Rejection`]; see its variants.
pub fn decode_up(text: &[u8]) -> Result<Up, Rejection> {
    decode(text)
}

/// Reads a fleet's message and decodes the bytes in it into `scratch`, which needs at most three quarters of the text's length.
///
/// # Errors
///
/// A [`Rejection`]; see its variants.
pub fn decode_down<'a>(text: &'a [u8], scratch: &'a mut [u8]) -> Result<Down<'a>, Rejection> {
    match decode(text)? {
        Down::Target(target) => {
            let (assignment, scratch) = raw(target.assignment, scratch)?;
            let (release, _) = raw(target.release, scratch)?;
            Ok(Down::Target(SignedTarget {
                assignment,
                release,
            }))
        }
        Down::Root(root) => {
            let (document, _) = raw(root.document, scratch)?;
            Ok(Down::Root(SignedRoot { document }))
        }
        other @ (Down::Registered(_)
        | Down::Refused(_)
        | Down::KeyAccepted(_)
        | Down::Command(_)
        | Down::Tunnel(_)) => Ok(other),
    }
}

fn decode<'a, T: serde::Deserialize<'a>>(text: &'a [u8]) -> Result<T, Rejection> {
    if text.len() > TEXT_BYTES {
        return Err(Rejection::TooLarge);
    }
    if text.is_empty() {
        return Err(Rejection::Empty);
    }
    if is_too_deep(text) {
        return Err(Rejection::TooDeep);
    }
    let (message, end) = serde_json_core::from_slice(text).map_err(|_| Rejection::Undecodable)?;
    if text[end..].iter().all(u8::is_ascii_whitespace) {
        Ok(message)
    } else {
        Err(Rejection::TrailingBytes)
    }
}

/// Whether objects and lists are nested deeper than [`JSON_DEPTH`], which would cost stack before it is found to be no message; brackets inside strings do not count.
pub fn is_too_deep(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0usize, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH {
            return true;
        }
    }
    false
}

fn raw<'a>(blob: Blob<'a>, scratch: &'a mut [u8]) -> Result<(Blob<'a>, &'a mut [u8]), Rejection> {
    let Blob::Base64(text) = blob else {
        return Ok((blob, scratch));
    };
    let len = text.len() / 4 * 3;
    let (here, rest) = scratch
        .split_at_mut_checked(len)
        .ok_or(Rejection::TooLarge)?;
    let bytes = Standard::decode(text, here).map_err(|_| Rejection::Undecodable)?;
    Ok((Blob::Raw(bytes), rest))
}
