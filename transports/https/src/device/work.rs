//! The second stream: messages, logs and blobs, one after the other.

use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, with_timeout};
use heapless::Vec;
use lightship_core::wire::{self, Down, Rejection, Up, json};
use lightship_link::chunk::{Asked, Request};
use lightship_link::{Failure, Misconduct, Unreachable};
use reqwless::request::Method;

use super::exchange::{self, To};
use super::line::Line;
use super::logs::Offered;
use super::target::postcard;
use super::{Dial, Site};
use crate::limits::{BODY_BYTES, HEAD_BYTES, PROBLEM_BYTES, REPLY_BYTES, REQUEST_HEAD_BYTES};
use crate::protocol;

const LOGS: &str = "/device/v1/logs";
pub(super) const SILENT: Failure = Failure::Unreachable(Unreachable::Silent);

/// Memory for a request and its answer.
#[derive(Debug)]
pub(super) struct Memory {
    /// A request with its body; when it is answered, the body of the answer.
    pub(super) request: [u8; REQUEST_HEAD_BYTES + BODY_BYTES],
    pub(super) head: [u8; HEAD_BYTES],
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            request: [0; REQUEST_HEAD_BYTES + BODY_BYTES],
            head: [0; HEAD_BYTES],
        }
    }
}

/// What a fleet that took a message said to it.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is no allocator to put the large one elsewhere"
)]
pub(super) enum Reply {
    /// Nothing.
    Taken,
    /// A message in postcard.
    Message(Vec<u8, REPLY_BYTES>),
    /// Something that is no message.
    Rejected(Rejection),
}

/// What became of a message.
pub(super) type Outcome = Result<Reply, Failure>;

/// Messages on their way to the second stream, and what became of them. One is under way at a time.
pub(super) struct Letters<M: RawMutex> {
    pub(super) outgoing: Channel<M, Up, 1>,
    pub(super) outcome: Signal<M, Outcome>,
}

impl<M: RawMutex> Letters<M> {
    pub(super) const fn new() -> Self {
        Self {
            outgoing: Channel::new(),
            outcome: Signal::new(),
        }
    }
}

/// Who does the work.
pub(super) struct Desk<'w, 'd, 'a, D: Dial + 'd, M: RawMutex> {
    pub(super) line: Line<'d, D>,
    pub(super) site: Site<'w>,
    pub(super) bearer: Option<&'w str>,
    pub(super) timeout: Duration,
    pub(super) letters: &'w Letters<M>,
    pub(super) asked: &'w mut Asked<'a, M>,
    pub(super) offered: &'w mut Offered<'a, M>,
    pub(super) memory: &'w mut Memory,
}

#[allow(
    clippy::large_enum_variant,
    reason = "there is no allocator to put the large one elsewhere"
)]
enum Job {
    Message(Up),
    Logs,
    Piece(Request),
}

impl<D: Dial, M: RawMutex> Desk<'_, '_, '_, D, M> {
    /// Works for ever; what is under way when it is dropped is lost.
    pub(super) async fn work(mut self) -> ! {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(request) => Job::Piece(request),
                None => self.job().await,
            };
            match job {
                Job::Message(message) => {
                    let sent = with_timeout(self.timeout, self.message(&message)).await;
                    self.letters.outcome.signal(sent.unwrap_or(Err(SILENT)));
                }
                Job::Logs => self.logs().await,
                Job::Piece(request) => next = self.blob(request).await,
            }
        }
    }

    async fn job(&mut self) -> Job {
        let message = self.letters.outgoing.receive();
        match select3(message, self.asked.question(), self.offered.wait()).await {
            Either3::First(message) => Job::Message(message),
            Either3::Second(request) => Job::Piece(request),
            Either3::Third(()) => Job::Logs,
        }
    }

    async fn logs(&mut self) {
        let batch = self
            .offered
            .copy(&mut self.memory.request[REQUEST_HEAD_BYTES..]);
        let timeout = self.timeout;
        let posting = self.post((LOGS, self.bearer), batch.kind.content_type(), batch.len);
        let posted = with_timeout(timeout, posting).await;
        let outcome = posted.unwrap_or(Err(SILENT)).map(|_| ());
        self.offered.settle(batch.id, outcome);
    }

    async fn message(&mut self, message: &Up) -> Outcome {
        // A registration carries its own proof; the key that it proposes opens nothing yet.
        let path = match message {
            Up::Register(_) => ("/device/v1/register", None),
            Up::Report(_) => ("/device/v1/report", self.bearer),
            Up::ProposeKey(_) => ("/device/v1/keys", self.bearer),
        };
        let body = &mut self.memory.request[REQUEST_HEAD_BYTES..];
        let text = json::encode(message, body).map_err(|_| Failure::TooLarge)?;
        let len = text.len();
        self.post(path, "application/json", len).await
    }

    async fn post(
        &mut self,
        (path, bearer): (&str, Option<&str>),
        content_type: &str,
        len: usize,
    ) -> Outcome {
        let to = To {
            site: self.site,
            path,
            bearer,
        };
        post(&mut self.line, self.memory, to, (content_type, len)).await
    }
}

/// Sends logs without a connection, as the device that they name; what they do not name is refused.
pub(super) async fn ship<D: Dial, M: RawMutex>(
    mut line: Line<'_, D>,
    (site, timeout): (Site<'_>, Duration),
    offered: &mut Offered<'_, M>,
    memory: &mut Memory,
) -> ! {
    loop {
        offered.wait().await;
        let bearer = offered.bearer();
        if bearer.is_none() {
            offered.fail(Failure::Unreachable(Unreachable::NotConnected));
            continue;
        }
        let batch = offered.copy(&mut memory.request[REQUEST_HEAD_BYTES..]);
        let to = To {
            site,
            path: LOGS,
            bearer: bearer.as_deref(),
        };
        let posting = post(
            &mut line,
            memory,
            to,
            (batch.kind.content_type(), batch.len),
        );
        let posted = with_timeout(timeout, posting).await;
        let outcome = posted.unwrap_or(Err(SILENT)).map(|_| ());
        offered.settle(batch.id, outcome);
    }
}

/// Sends a body of this length that stands behind the place for its head.
async fn post<D: Dial>(
    line: &mut Line<'_, D>,
    memory: &mut Memory,
    to: To<'_>,
    (content_type, len): (&str, usize),
) -> Outcome {
    let Memory { request, head } = memory;
    let (front, body) = request.split_at_mut(REQUEST_HEAD_BYTES);
    let front = to.post(content_type, &body[..len], front).await?;
    let body = REQUEST_HEAD_BYTES..REQUEST_HEAD_BYTES + len;
    request.copy_within(body, front);
    let mut stream = line.send(&request[..front + len]).await?;
    let (head, mut body) = exchange::read(&mut stream, Method::POST, head).await?;
    let reply = match head.status {
        200 | 204 => match body.whole(request).await {
            Ok(0) => Ok(Reply::Taken),
            Ok(len) => Ok(reply(&request[..len])),
            Err(Failure::Misbehaved(Misconduct::Length)) => {
                Ok(Reply::Rejected(Rejection::TooLarge))
            }
            Err(failure) => Err(failure),
        },
        403 | 409 | 429 => {
            let len = body.whole(&mut request[..PROBLEM_BYTES]).await;
            refusal(&request[..len.unwrap_or(0)]).ok_or(head.failure())
        }
        _ => Err(head.failure()),
    };
    let is_followed = body.is_followed(&head);
    drop(body);
    if is_followed {
        line.keep(stream);
    }
    reply
}

fn reply(text: &[u8]) -> Reply {
    let mut message = Vec::new();
    message
        .resize_default(REPLY_BYTES)
        .expect("that is what it holds");
    // An answer to a message has no documents that would have to be decoded into memory of their own.
    match postcard(text, &mut [], &mut message) {
        Ok(len) => {
            message.truncate(len);
            Reply::Message(message)
        }
        Err(rejection) => Reply::Rejected(rejection),
    }
}

fn refusal(body: &[u8]) -> Option<Reply> {
    let refused = protocol::refused(body)?;
    let mut out = [0; 32];
    let written = wire::encode(&Down::Refused(refused), &mut out).ok()?;
    Some(Reply::Message(Vec::from_slice(written).ok()?))
}
