//! Blobs by range: one answer is read from piece to piece, as long as the agent reads on from where it was.

use core::fmt::Write;

use embassy_futures::select::{Either4, select4};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Timer, with_timeout};
use embedded_io_async::Read;
use heapless::String;
use lightship_core::id::Digest;
use lightship_link::chunk::{Answer, Asked, Piece, Request};
use lightship_link::limits::CHUNK_BYTES;
use lightship_link::{Failure, Misconduct};
use reqwless::request::Method;

use super::Dial;
use super::exchange::{self, Body, Head, To};
use super::work::{Desk, Memory, SILENT};

/// What an answer offers.
enum Offer {
    /// The blob from this offset on.
    From(u64),
    /// Nothing: the offset is its end or beyond.
    Nothing,
    Absent,
    Failed(Failure),
}

impl<D: Dial, M: RawMutex> Desk<'_, '_, '_, D, M> {
    /// Answers a question and those that go on from it. Returns one that does not.
    pub(super) async fn blob(&mut self, first: Request) -> Option<Request> {
        match self.pieces(first).await {
            Ok(next) => next,
            Err(failure) => {
                self.asked.fail(failure);
                None
            }
        }
    }

    async fn pieces(&mut self, first: Request) -> Result<Option<Request>, Failure> {
        let len = self.write(&first).await?;
        let Memory { request, head } = &mut *self.memory;
        let sending = self.line.send(&request[..len]);
        let sent = with_timeout(self.timeout, sending).await;
        let mut stream = sent.unwrap_or(Err(SILENT))?;
        let reading = exchange::read(&mut stream, Method::GET, head);
        let read = with_timeout(self.timeout, reading).await;
        let (head, mut body) = read.unwrap_or(Err(SILENT))?;
        let mut at = match offer(&head, first.offset) {
            Offer::From(at) => at,
            Offer::Nothing => return Ok(answer(self.asked, &first, Piece::Bytes(&[]))),
            Offer::Absent => return Ok(answer(self.asked, &first, Piece::Absent)),
            Offer::Failed(failure) => return Err(failure),
        };
        let mut question = first;
        loop {
            let max = usize::try_from(question.max).unwrap_or(CHUNK_BYTES);
            let piece = &mut request[..max.min(CHUNK_BYTES)];
            let reading = reach(&mut body, &mut at, question.offset, piece);
            let read = with_timeout(self.timeout, reading).await;
            let len = read.unwrap_or(Err(SILENT))?;
            answer(self.asked, &question, Piece::Bytes(&piece[..len]));
            if len == 0 || body.is_followed(&head) {
                break;
            }
            let patience = Timer::after(self.timeout);
            let message = self.letters.outgoing.ready_to_receive();
            let next = select4(
                self.asked.question(),
                message,
                self.offered.ready(),
                patience,
            );
            question = match next.await {
                Either4::First(next) if is_next(&next, &first.digest, at) => next,
                Either4::First(other) => return Ok(Some(other)),
                Either4::Second(()) | Either4::Third(()) | Either4::Fourth(()) => return Ok(None),
            };
        }
        let is_followed = body.is_followed(&head);
        drop(body);
        if is_followed {
            self.line.keep(stream);
        }
        Ok(None)
    }

    async fn write(&mut self, question: &Request) -> Result<usize, Failure> {
        let mut path: String<{ 17 + 64 }> = String::new();
        let mut range: String<32> = String::new();
        path.push_str("/device/v1/blobs/")
            .expect("17 characters fit");
        for byte in question.digest.0 {
            write!(path, "{byte:02x}").expect("64 more characters fit");
        }
        write!(range, "bytes={}-", question.offset).expect("7 characters and 20 digits fit");
        let to = To {
            site: self.site,
            path: &path,
            bearer: self.bearer,
        };
        let range = [("Range", range.as_str())];
        let headers = if question.offset > 0 { &range[..] } else { &[] };
        to.get(headers, &mut self.memory.request).await
    }
}

/// Answers, after which there is no question any more.
fn answer<M: RawMutex>(
    asked: &mut Asked<'_, M>,
    to: &Request,
    piece: Piece<'_>,
) -> Option<Request> {
    asked.answer(&Answer { id: to.id, piece });
    None
}

fn offer(head: &Head, offset: u64) -> Offer {
    let misplaced = Offer::Failed(Failure::Misbehaved(Misconduct::Sequence));
    match (head.status, head.start) {
        // A server may ignore the range and begin at the beginning.
        (200, _) => Offer::From(0),
        (206, Some(start)) if start == offset || start == 0 => Offer::From(start),
        (206, _) => misplaced,
        (416, _) => Offer::Nothing,
        (404 | 410, _) => Offer::Absent,
        _ => Offer::Failed(head.failure()),
    }
}

fn is_next(question: &Request, digest: &Digest, at: u64) -> bool {
    question.digest == *digest && question.offset == at
}

/// Reads at `offset`, to which it goes over what comes before.
async fn reach<R: Read>(
    body: &mut Body<R>,
    at: &mut u64,
    offset: u64,
    into: &mut [u8],
) -> Result<usize, Failure> {
    loop {
        let before = usize::try_from(offset - *at).unwrap_or(usize::MAX);
        let room = match before {
            0 => into.len(),
            _ => into.len().min(before),
        };
        let len = body.read(&mut into[..room]).await?;
        *at += len as u64;
        if before == 0 || len == 0 {
            return Ok(len);
        }
    }
}
