//! Questions for pieces and their answers, between an agent that fetches and the runner that owns the wire.
//!
//! One question is open at a time. A new one takes the place of the old, so a read that was dropped leaves nothing behind.

use core::cell::RefCell;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::signal::Signal;
use lightship_core::id::Digest;

use super::{Answer, Piece, Request};
use crate::contract::Blobs;
use crate::failure::{BlobFailure, Failure, Unreachable};
use crate::limits::CHUNK_BYTES;

/// Memory for one answer: zeroes, so that a `static` of it takes no room in a program's image.
#[derive(Debug)]
pub struct Slot([u8; CHUNK_BYTES]);

/// The last answer.
struct Kept<'a> {
    id: u32,
    outcome: Result<usize, BlobFailure>,
    bytes: &'a mut [u8; CHUNK_BYTES],
}

/// What lies between. [`split`](Self::split) it once.
pub struct Exchange<'a, M: RawMutex> {
    kept: Mutex<M, RefCell<Kept<'a>>>,
    questions: Signal<M, Request>,
    answered: Signal<M, ()>,
}

/// The agent's side.
pub struct Reader<'a, M: RawMutex> {
    exchange: &'a Exchange<'a, M>,
    id: u32,
}

/// The runner's side.
pub struct Asked<'a, M: RawMutex> {
    exchange: &'a Exchange<'a, M>,
    /// What was asked and not answered.
    open: Option<Request>,
}

impl Slot {
    /// Empty memory.
    pub const fn new() -> Self {
        Self([0; CHUNK_BYTES])
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, M: RawMutex> Exchange<'a, M> {
    /// An exchange over this memory.
    pub fn new(slot: &'a mut Slot) -> Self {
        Self {
            kept: Mutex::new(RefCell::new(Kept {
                id: 0,
                outcome: Ok(0),
                bytes: &mut slot.0,
            })),
            questions: Signal::new(),
            answered: Signal::new(),
        }
    }

    /// The two sides.
    pub fn split(&'a mut self) -> (Reader<'a, M>, Asked<'a, M>) {
        let exchange: &'a Self = self;
        let reader = Reader { exchange, id: 0 };
        let asked = Asked {
            exchange,
            open: None,
        };
        (reader, asked)
    }

    /// The outcome for this question, if that is what lies there.
    fn take(&self, id: u32, into: &mut [u8]) -> Option<Result<usize, BlobFailure>> {
        self.kept.lock(|kept| {
            let kept = kept.borrow();
            if kept.id != id {
                return None;
            }
            if let Ok(len) = kept.outcome {
                into[..len].copy_from_slice(&kept.bytes[..len]);
            }
            Some(kept.outcome)
        })
    }

    fn put(&self, id: u32, outcome: Result<&[u8], BlobFailure>) {
        self.kept.lock(|kept| {
            let mut kept = kept.borrow_mut();
            kept.id = id;
            kept.outcome = outcome.map(|bytes| {
                kept.bytes[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            });
        });
        self.answered.signal(());
    }
}

impl<M: RawMutex> Blobs for Reader<'_, M> {
    async fn read(
        &mut self,
        digest: &Digest,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, BlobFailure> {
        self.id = self.id.wrapping_add(1).max(1);
        let max = into.len().min(CHUNK_BYTES);
        self.exchange.questions.signal(Request {
            id: self.id,
            digest: *digest,
            offset,
            max: u32::try_from(max).unwrap_or(u32::MAX),
        });
        loop {
            self.exchange.answered.wait().await;
            if let Some(outcome) = self.exchange.take(self.id, into) {
                return outcome;
            }
        }
    }
}

impl<M: RawMutex> Asked<'_, M> {
    /// Waits for a question.
    pub async fn question(&mut self) -> Request {
        let request = self.exchange.questions.wait().await;
        self.open = Some(request);
        request
    }

    /// The question that has no answer yet.
    pub fn open(&self) -> Option<&Request> {
        self.open.as_ref()
    }

    /// Takes what the far end said. False when it answers no question, or with more than was asked for.
    pub fn answer(&mut self, answer: &Answer<'_>) -> bool {
        let Some(request) = self.open.filter(|request| request.id == answer.id) else {
            return false;
        };
        let outcome = match answer.piece {
            Piece::Bytes(bytes) if bytes.len() as u64 > u64::from(request.max) => return false,
            Piece::Bytes(bytes) => Ok(bytes),
            Piece::Absent => Err(BlobFailure::Absent),
            Piece::Busy => Err(BlobFailure::Link(Failure::Busy {
                retry_after_s: None,
            })),
        };
        self.exchange.put(request.id, outcome);
        self.open = None;
        true
    }

    /// Says that the open question, if there is one, gets no answer.
    pub fn fail(&mut self, failure: Failure) {
        if let Some(request) = self.open.take() {
            self.exchange
                .put(request.id, Err(BlobFailure::Link(failure)));
        }
    }

    /// Answers every question with the news that there is no connection.
    pub async fn refuse(&mut self) -> ! {
        loop {
            self.question().await;
            self.fail(Failure::Unreachable(Unreachable::NotConnected));
        }
    }
}

macro_rules! opaque {
    ($($name:ident)*) => {
        $(
            impl<M: RawMutex> core::fmt::Debug for $name<'_, M> {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    f.debug_struct(stringify!($name)).finish_non_exhaustive()
                }
            }
        )*
    };
}

opaque!(Exchange Reader Asked);

#[cfg(test)]
mod tests {
    use embassy_futures::block_on;
    use embassy_futures::join::join;
    use embassy_futures::select::{Either, select};
    use embassy_sync::blocking_mutex::raw::NoopRawMutex;

    use super::*;

    fn with(test: impl AsyncFnOnce(Reader<'_, NoopRawMutex>, Asked<'_, NoopRawMutex>)) {
        let mut slot = Slot::new();
        let mut exchange = Exchange::new(&mut slot);
        let (reader, asked) = exchange.split();
        block_on(test(reader, asked));
    }

    fn bytes(request: &Request, bytes: &'static [u8]) -> Answer<'static> {
        Answer {
            id: request.id,
            piece: Piece::Bytes(bytes),
        }
    }

    #[test]
    fn a_piece_is_what_was_answered() {
        with(async |mut reader, mut asked| {
            let mut into = [0; 8];
            let (got, ()) = join(reader.read(&Digest([1; 32]), 5, &mut into), async {
                let request = asked.question().await;
                assert_eq!((request.offset, request.max), (5, 8));
                assert!(asked.answer(&bytes(&request, b"abc")));
                assert!(!asked.answer(&bytes(&request, b"abc")), "answered twice");
            })
            .await;
            assert_eq!((got, &into[..3]), (Ok(3), &b"abc"[..]));
        });
    }

    #[test]
    fn an_answer_to_a_read_that_was_dropped_is_not_taken_for_another() {
        with(async |mut reader, mut asked| {
            let mut into = [0; 8];
            let dropped = select(reader.read(&Digest([1; 32]), 0, &mut into), async {}).await;
            assert!(matches!(dropped, Either::Second(())));
            let old = asked.question().await;
            assert!(asked.answer(&bytes(&old, b"old")));
            let (got, ()) = join(reader.read(&Digest([2; 32]), 0, &mut into), async {
                let request = asked.question().await;
                assert!(!asked.answer(&bytes(&old, b"old")));
                assert!(asked.answer(&bytes(&request, b"new!")));
            })
            .await;
            assert_eq!((got, &into[..4]), (Ok(4), &b"new!"[..]));
        });
    }

    #[test]
    fn more_than_was_asked_for_is_not_an_answer() {
        with(async |mut reader, mut asked| {
            let mut into = [0; 2];
            let failure = Failure::Unreachable(Unreachable::Silent);
            let (got, ()) = join(reader.read(&Digest([1; 32]), 0, &mut into), async {
                let request = asked.question().await;
                assert!(!asked.answer(&bytes(&request, b"abc")));
                asked.fail(failure);
            })
            .await;
            assert_eq!(got, Err(BlobFailure::Link(failure)));
        });
    }
}
