//! Asking for what the fleet has to say.

use core::fmt::Write;

use embassy_time::{Duration, Timer, with_timeout};
use heapless::String;
use lightship_core::wire::{self, Rejection, json};
use lightship_link::{Failure, Misconduct, Unreachable};
use reqwless::request::Method;

use super::exchange::{self, To};
use super::line::Line;
use super::{Dial, Site};
use crate::limits::HEAD_BYTES;
use crate::protocol::{QUERY_BYTES, Seen, Tag};

/// Memory for a request and its answer.
#[derive(Debug)]
pub(super) struct Memory<const N: usize, const T: usize> {
    head: [u8; HEAD_BYTES],
    text: [u8; T],
    scratch: [u8; N],
}

impl<const N: usize, const T: usize> Memory<N, T> {
    pub(super) const fn new() -> Self {
        Self {
            head: [0; HEAD_BYTES],
            text: [0; T],
            scratch: [0; N],
        }
    }

    /// Writes the message in JSON that came last, and has this length, in postcard.
    pub(super) fn postcard(&mut self, len: usize, out: &mut [u8]) -> Result<usize, Rejection> {
        postcard(&self.text[..len], &mut self.scratch, out)
    }
}

/// A message in JSON as a message in postcard.
pub(super) fn postcard(
    text: &[u8],
    scratch: &mut [u8],
    out: &mut [u8],
) -> Result<usize, Rejection> {
    let message = json::decode_down(text, scratch)?;
    Ok(wire::encode(&message, out)?.len())
}

/// What one request brought.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Nothing new.
    Unchanged,
    /// A message in JSON of this length, and the tag that it came under.
    Message(Tag, usize),
    /// Something under this tag that is no message.
    Rejected(Tag, Rejection),
}

/// One request for the target.
pub(super) struct Question<'a> {
    pub(super) site: Site<'a>,
    pub(super) bearer: &'a str,
    pub(super) seen: Seen,
    /// Time before it is asked.
    pub(super) pause: Duration,
    /// How long the server is to hold it.
    pub(super) wait: Duration,
    /// How long the answer may take beyond that.
    pub(super) timeout: Duration,
}

impl Question<'_> {
    pub(super) async fn ask<D: Dial, const N: usize, const T: usize>(
        self,
        line: &mut Line<'_, D>,
        memory: &mut Memory<N, T>,
    ) -> Result<Answer, Failure> {
        if self.pause > Duration::MIN {
            Timer::after(self.pause).await;
        }
        let patience = self.wait + self.timeout;
        match with_timeout(patience, self.exchange(line, memory)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Unreachable(Unreachable::Silent)),
        }
    }

    async fn exchange<D: Dial, const N: usize, const T: usize>(
        &self,
        line: &mut Line<'_, D>,
        memory: &mut Memory<N, T>,
    ) -> Result<Answer, Failure> {
        let len = self.write(&mut memory.text).await?;
        let mut stream = line.send(&memory.text[..len]).await?;
        let read = exchange::read(&mut stream, Method::GET, &mut memory.head);
        let (head, mut body) = read.await?;
        let answer = match head.status {
            304 => Answer::Unchanged,
            200 => {
                let tag = head.tag.ok_or(Failure::Misbehaved(Misconduct::Sequence))?;
                match body.whole(&mut memory.text).await {
                    Ok(len) => Answer::Message(tag, len),
                    Err(Failure::Misbehaved(Misconduct::Length)) => {
                        Answer::Rejected(tag, Rejection::TooLarge)
                    }
                    Err(failure) => return Err(failure),
                }
            }
            _ => return Err(head.failure()),
        };
        let is_followed = body.is_followed(&head);
        drop(body);
        if is_followed {
            line.keep(stream);
        }
        Ok(answer)
    }

    async fn write(&self, into: &mut [u8]) -> Result<usize, Failure> {
        let mut path: String<{ 24 + QUERY_BYTES }> = String::new();
        let mut prefer: String<24> = String::new();
        write!(path, "/device/v1/target?{}", self.seen.query()).expect("18 characters more fit");
        write!(prefer, "wait={}", self.wait.as_secs()).expect("20 digits fit");
        let tags = self.seen.tags();
        let mut headers = heapless::Vec::<_, 2>::new();
        if !tags.is_empty() {
            let push = headers.push(("If-None-Match", tags.as_str()));
            push.expect("two fit");
        }
        if self.wait > Duration::MIN {
            let push = headers.push(("Prefer", prefer.as_str()));
            push.expect("two fit");
        }
        let to = To {
            site: self.site,
            path: &path,
            bearer: Some(self.bearer),
        };
        to.get(&headers, into).await
    }
}
