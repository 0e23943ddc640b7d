//! Requests and answers, as reqwless writes and reads them, within bounds of our own.
//!
//! reqwless 0.14 takes more of a body than its length says when it is given the room, goes on for ever when a chunked body breaks off, and both only where its caller lets it: [`Body`] does not.

use embedded_io_async::Read;
use lightship_link::{Failure, Misconduct, Unreachable};
use reqwless::request::{Method, Request, RequestBody, RequestBuilder};
use reqwless::response::{BodyReader, Response};

use super::Site;
use crate::protocol::{self, Tag};

const BROKEN: Failure = Failure::Unreachable(Unreachable::Broken);

/// Where a request goes, and what it shows.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) site: Site<'a>,
    pub(super) path: &'a str,
    pub(super) bearer: Option<&'a str>,
}

/// More headers of a request.
type Headers<'a, const H: usize> = heapless::Vec<(&'a str, &'a str), H>;

impl<'a> To<'a> {
    /// Writes a `GET` with these headers and returns its length.
    pub(super) async fn get(
        &self,
        more: &[(&'a str, &'a str)],
        into: &mut [u8],
    ) -> Result<usize, Failure> {
        let headers = self.headers(more)?;
        let request = Request::get(self.path);
        let request = request.host(self.site.host).headers(&headers).build();
        self.write(request, into).await
    }

    /// Writes the head of a `POST` of these bytes and returns its length.
    pub(super) async fn post(
        &self,
        content_type: &'a str,
        body: &[u8],
        into: &mut [u8],
    ) -> Result<usize, Failure> {
        let headers = self.headers(&[("Content-Type", content_type)])?;
        let request = Request::post(self.path).body(body);
        let request = request.host(self.site.host).headers(&headers).build();
        self.write(request, into).await
    }

    fn headers(&self, more: &[(&'a str, &'a str)]) -> Result<Headers<'a, 4>, Failure> {
        let mut headers = Headers::from_slice(more).map_err(|_| Failure::TooLarge)?;
        if let Some(bearer) = self.bearer {
            let shown = headers.push(("Authorization", bearer));
            shown.map_err(|_| Failure::TooLarge)?;
        }
        Ok(headers)
    }

    async fn write<B: RequestBody>(
        &self,
        request: Request<'_, B>,
        into: &mut [u8],
    ) -> Result<usize, Failure> {
        let room = into.len();
        let mut rest = into;
        let written = request.write_header(&mut rest).await;
        written.map_err(|_| Failure::TooLarge)?;
        Ok(room - rest.len())
    }
}

/// What an answer says before its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) tag: Option<Tag>,
    /// The first byte that a `Content-Range` speaks of.
    pub(super) start: Option<u64>,
    retry_after_s: Option<u32>,
    /// Whether the far end keeps the connection open.
    stays: bool,
}

impl Head {
    /// What an answer from 300 on means.
    pub(super) fn failure(&self) -> Failure {
        protocol::failure(self.status, self.retry_after_s)
    }
}

fn head<S: Read>(response: &Response<'_, '_, S>) -> Head {
    let header = |name: &str| {
        let mut headers = response.headers();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| core::str::from_utf8(value).ok())
    };
    Head {
        status: response.status.0,
        tag: header("etag").and_then(Tag::parse),
        start: header("content-range").and_then(protocol::range_start),
        retry_after_s: protocol::retry_after(header("retry-after"), header("date")),
        stays: header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")),
    }
}

/// Reads the head of an answer; its body follows from the same stream.
pub(super) async fn read<S: Read>(
    stream: &mut S,
    method: Method,
    memory: &mut [u8],
) -> Result<(Head, Body<impl Read>), Failure> {
    let response = Response::read(stream, method, memory).await.map_err(of)?;
    let head = head(&response);
    let left = match head.status {
        // Neither has a body, whatever its length is said to be.
        204 | 304 => Some(0),
        _ => response.content_length,
    };
    let body = Body {
        reader: response.body().reader(),
        left,
        is_over: false,
    };
    Ok((head, body))
}

/// A body that is read up to its end and no further.
pub(super) struct Body<R: Read> {
    reader: BodyReader<R>,
    /// Bytes that are to come, if the head said so.
    left: Option<usize>,
    is_over: bool,
}

impl<R: Read> Body<R> {
    /// Reads at least one byte; none at the end of the body.
    pub(super) async fn read(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        let room = self.left.unwrap_or(into.len()).min(into.len());
        if room == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut into[..room]).await;
        let len = read.map_err(of)?;
        match (&mut self.left, &self.reader) {
            (Some(_), _) if len == 0 => return Err(BROKEN),
            (Some(left), _) => *left -= len,
            (None, BodyReader::Chunked(reader)) if len == 0 && !reader.is_done() => {
                return Err(BROKEN);
            }
            (None, _) => self.is_over = len == 0,
        }
        Ok(len)
    }

    /// Reads all of it; more than there is room for is misconduct.
    pub(super) async fn whole(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        let mut len = 0;
        while len < into.len() {
            match self.read(&mut into[len..]).await? {
                0 => return Ok(len),
                more => len += more,
            }
        }
        match self.read(&mut [0]).await? {
            0 => Ok(len),
            _ => Err(Failure::Misbehaved(Misconduct::Length)),
        }
    }

    /// Whether another answer may follow on the stream.
    pub(super) fn is_followed(&self, head: &Head) -> bool {
        let is_whole = match (self.left, &self.reader) {
            (Some(left), _) => left == 0,
            (None, BodyReader::Chunked(_)) => self.is_over,
            (None, BodyReader::Empty | BodyReader::FixedLength(_) | BodyReader::ToEnd(_)) => false,
        };
        head.stays && is_whole
    }
}

fn of(error: reqwless::Error) -> Failure {
    use reqwless::Error;
    match error {
        Error::Codec => Failure::Misbehaved(Misconduct::Garbage),
        Error::BufferTooSmall => Failure::Misbehaved(Misconduct::Length),
        _ => BROKEN,
    }
}
