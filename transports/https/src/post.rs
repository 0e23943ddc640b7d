//! One request a connection: what a microcontroller needs whose transport is another one.
//!
//! A device registers over HTTP and sends its logs over HTTP, also where MQTT carries everything else.
//! This half does these two, in postcard and in frames as they are, with a request and a reader of answers of its own: no JSON, no reqwless, no formatting.
//! Each connection ends with its answer.

mod answer;
mod entrance;

use embedded_io_async::{Read, Write};
use lightship_link::{Credentials, Failure, Unreachable};

pub use crate::dial::Dial;
pub use crate::limits::POST_HEAD_BYTES;
pub use crate::logs::Kind;
use crate::shown;
pub use answer::Answer;
pub use entrance::Entrance;

const BROKEN: Failure = Failure::Unreachable(Unreachable::Broken);

/// A request, without its body. Nothing in it is anybody's input, so that nothing in it has to be quoted.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    host: &'static str,
    path: &'static str,
    content_type: &'static str,
    shown: Option<&'a Credentials>,
}

impl<'a> Post<'a> {
    /// Asks to be one of the fleet; the body is the message in postcard. `host` is the value of `Host`.
    pub const fn registration(host: &'static str) -> Self {
        Self {
            host,
            path: "/device/v1/register",
            content_type: "application/vnd.lightship.postcard",
            shown: None,
        }
    }

    /// Sends logs as this device.
    pub const fn logs(host: &'static str, kind: Kind, credentials: &'a Credentials) -> Self {
        Self {
            host,
            path: "/device/v1/logs",
            content_type: kind.content_type(),
            shown: Some(credentials),
        }
    }

    /// Sends it with this body on a fresh connection, and reads the answer, whose body is then at the start of `into`.
    ///
    /// `into` has at least [`POST_HEAD_BYTES`]: the head of the request is written there first.
    /// An answer that comes before the whole request was taken counts.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when there is no whole answer, or no well-formed one; [`Failure::Misbehaved`] too when a good one has a longer body than `into` takes.
    pub async fn send<S: Read + Write>(
        &self,
        stream: &mut S,
        body: &[u8],
        into: &mut [u8],
    ) -> Result<Answer, Failure> {
        let len = self.write(body.len(), into).ok_or(Failure::TooLarge)?;
        'request: for mut piece in [&into[..len], body] {
            while !piece.is_empty() {
                match stream.write(piece).await {
                    Ok(0) | Err(_) => break 'request,
                    Ok(written) => piece = piece.get(written..).unwrap_or_default(),
                }
            }
        }
        // Whatever became of the request, the answer says it, or that there is none does.
        let _ = stream.flush().await;
        answer::read(stream, into).await
    }

    /// Writes the head for a body of this length, and returns its own.
    fn write(&self, body: usize, into: &mut [u8]) -> Option<usize> {
        let mut digits = [0; 20];
        let bearer = self.shown.and_then(shown::bearer);
        let (name, value): (&[u8], &[u8]) = match &bearer {
            Some(bearer) => (b"\r\nAuthorization: ", bearer),
            None => (b"", b""),
        };
        let pieces = [
            b"POST ",
            self.path.as_bytes(),
            b" HTTP/1.1\r\nConnection: close\r\nHost: ",
            self.host.as_bytes(),
            b"\r\nContent-Type: ",
            self.content_type.as_bytes(),
            name,
            value,
            b"\r\nContent-Length: ",
            decimal(body, &mut digits),
            b"\r\n\r\n",
        ];
        let mut len = 0;
        for piece in pieces {
            into.get_mut(len..len + piece.len())?.copy_from_slice(piece);
            len += piece.len();
        }
        Some(len)
    }
}

fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || first == 0 {
            return &digits[first..];
        }
    }
}

#[cfg(test)]
mod tests;
