//! Answers (RFC 9112), as far as they are to a request of ours: read once, and the connection is over.

use embedded_io_async::Read;
use lightship_link::limits::RETRY_AFTER_S;
use lightship_link::{Failure, Misconduct};

use super::BROKEN;
use crate::limits::HEAD_BYTES;
use crate::shown;

/// What a line is kept of: the longest that says anything to us is `Content-Length` with twenty digits.
const LINE_BYTES: usize = 48;
const GARBAGE: Failure = Failure::Misbehaved(Misconduct::Garbage);
const LENGTH: Failure = Failure::Misbehaved(Misconduct::Length);

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status, from 200 on.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after_s: Option<u32>,
    /// Length of its body. Of an answer from 300 on there is none if it did not come whole or did not fit.
    pub len: usize,
}

impl Answer {
    /// Whether the fleet did what it was asked.
    pub const fn is_good(&self) -> bool {
        self.status < 300
    }

    /// What an answer that is not good means.
    pub fn failure(&self) -> Failure {
        shown::failure(self.status, self.retry_after_s)
    }
}

/// Reads an answer; its body is then at the start of `into`, which also serves for reading its head.
pub(super) async fn read<S: Read>(stream: &mut S, into: &mut [u8]) -> Result<Answer, Failure> {
    let mut head = Head::new();
    let len = loop {
        let read = stream.read(into).await.map_err(|_| BROKEN)?;
        if read == 0 {
            return Err(BROKEN);
        }
        if let Some(body) = head.take(into.get(..read).ok_or(BROKEN)?)? {
            into.copy_within(body..read, 0);
            break read - body;
        }
    };
    let body = body(stream, into, len, head.body()).await;
    let len = match (body, head.status) {
        (Ok(len), _) => len,
        (Err(failure), ..300) => return Err(failure),
        // What it says is in the status.
        (Err(_), _) => 0,
    };
    Ok(Answer {
        status: head.status,
        retry_after_s: head.retry_after_s,
        len,
    })
}

/// Reads the rest of a body of which `len` bytes are there.
async fn body<S: Read>(
    stream: &mut S,
    into: &mut [u8],
    mut len: usize,
    length: Option<usize>,
) -> Result<usize, Failure> {
    let most = length.unwrap_or(into.len());
    if most > into.len() {
        return Err(LENGTH);
    }
    while len < most {
        match stream.read(&mut into[len..most]).await {
            Ok(0) if length.is_none() => return Ok(len),
            Ok(0) | Err(_) => return Err(BROKEN),
            Ok(read) => len += read,
        }
    }
    match length {
        // What follows is nobody's: the connection is not used again.
        Some(length) => Ok(length),
        None => match stream.read(&mut [0]).await {
            Ok(0) => Ok(len),
            Ok(_) => Err(LENGTH),
            Err(_) => Err(BROKEN),
        },
    }
}

/// A head as it comes.
struct Head {
    line: [u8; LINE_BYTES],
    /// Length of the line so far, of which its start is kept.
    len: usize,
    /// Bytes of the head so far.
    count: usize,
    /// Zero before the first line.
    status: u16,
    length: Option<usize>,
    retry_after_s: Option<u32>,
}

impl Head {
    const fn new() -> Self {
        Self {
            line: [0; LINE_BYTES],
            len: 0,
            count: 0,
            status: 0,
            length: None,
            retry_after_s: None,
        }
    }

    /// Length of the body, if it has one that does not end with the connection.
    fn body(&self) -> Option<usize> {
        match self.status {
            // Neither has a body, whatever its length is said to be.
            204 | 304 => Some(0),
            _ => self.length,
        }
    }

    /// Takes some bytes; once the head is whole, returns how many of them were part of it.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        for (at, byte) in bytes.iter().enumerate() {
            self.count += 1;
            if self.count > HEAD_BYTES {
                return Err(LENGTH);
            }
            if *byte != b'\n' {
                if let Some(place) = self.line.get_mut(self.len) {
                    *place = *byte;
                }
                self.len += 1;
            } else if self.end_of_line()? {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }

    /// Takes a line. True when it was the last one.
    fn end_of_line(&mut self) -> Result<bool, Failure> {
        let line = self.line;
        let is_whole = self.len <= LINE_BYTES;
        let line = &line[..self.len.min(LINE_BYTES)];
        self.len = 0;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (self.status, line) {
            (0, line) => self.status = status(line).ok_or(GARBAGE)?,
            // Word that an answer will come (RFC 9110, section 15.2).
            (..200, []) => {
                *self = Self {
                    count: self.count,
                    ..Self::new()
                }
            }
            (_, []) => return Ok(true),
            (..200, _) => {}
            (_, line) => self.header(line, is_whole)?,
        }
        Ok(false)
    }

    fn header(&mut self, line: &[u8], is_whole: bool) -> Result<(), Failure> {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            // The name of a header that we do not know may be as long as it likes.
            return if is_whole { Err(GARBAGE) } else { Ok(()) };
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value).filter(|_| is_whole).ok_or(GARBAGE)?;
            // More than fit are too many for any memory that an answer is read into.
            let length = usize::try_from(length).map_err(|_| LENGTH)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(GARBAGE);
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // Our server knows the length of what it says to these requests.
            return Err(GARBAGE);
        } else if name.eq_ignore_ascii_case(b"retry-after") {
            // A date is not understood: who sends one is asked again when the agent thinks fit.
            self.retry_after_s = number(value).map(|seconds| seconds.min(RETRY_AFTER_S));
        }
        Ok(())
    }
}

/// The status in `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let (status, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let is_good = minor.is_ascii_digit() && matches!(rest, [] | [b' ', ..]);
    let status = number(status).filter(|status| is_good && (100..600).contains(status));
    u16::try_from(status?).ok()
}

/// Digits and nothing else; more than fit are as many as fit.
fn number(text: &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.saturating_mul(10).saturating_add(digit.into());
    }
    (!text.is_empty()).then_some(number)
}
