//! The other half of a line: a rig, a provisioning station, a gateway.

use embassy_futures::select::{Either3, select3};
use embassy_time::{Instant, Timer};
use embedded_io_async::{Read, Write};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::{Up, decode_up};
use lightship_link::chunk::{self, ANSWER_BYTES, Answer, Piece, Request};
use lightship_link::limits::CHUNK_BYTES;
use lightship_link::{Credentials, Failure};

use crate::frame::{Frame, Head, Kind, encoded_bytes};
use crate::limits::{DEVICE_BYTES, DOWN_BYTES, FRAME_OVERHEAD, TRIES};
use crate::line::{Line, Patience, silent};
use crate::session::{Hello, SESSION_BYTES, Sorry, Welcome};

type ShoreLine<P> = Line<P, { DEVICE_BYTES + FRAME_OVERHEAD }, { encoded_bytes(DOWN_BYTES) }>;

/// What a shore says, hears and keeps.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, so neither is Send"
)]
pub trait Shore {
    /// Judges a device that says hello; whether it was here before, if it is let in.
    ///
    /// # Errors
    ///
    /// Why it gets no session.
    fn admit(&mut self, credentials: &Credentials) -> Result<bool, Sorry>;

    /// Takes a message; it is acknowledged when this returns.
    fn hear(&mut self, message: Up);

    /// Waits for something to say, writes it in postcard and returns its length. May be dropped; says the same until [`said`](Self::said).
    async fn next(&mut self, out: &mut [u8; MESSAGE_BYTES]) -> usize;

    /// What became of the message that [`next`](Self::next) gave.
    fn said(&mut self, outcome: Result<(), Failure>);

    /// Reads a piece of a blob into `into`; none when there is no such blob.
    fn piece(&mut self, request: &Request, into: &mut [u8]) -> Option<usize>;
}

/// One device at the other end of a line.
pub struct Host<P, S> {
    line: ShoreLine<P>,
    /// What is said and kept.
    pub shore: S,
    patience: Patience,
    session: u8,
    is_open: bool,
    message: [u8; MESSAGE_BYTES],
    message_len: Option<usize>,
    message_at: Instant,
    sequence: u8,
    expected: u8,
    tries: u32,
}

impl<P: Read + Write, S: Shore> Host<P, S> {
    /// A shore on one port.
    pub fn new(port: P, patience: Patience, shore: S) -> Self {
        Self {
            line: Line::new(port),
            shore,
            patience,
            session: 0,
            is_open: false,
            message: [0; MESSAGE_BYTES],
            message_len: None,
            message_at: Instant::MIN,
            sequence: 0,
            expected: 0,
            tries: 0,
        }
    }

    /// Serves the line until the port fails.
    pub async fn run(&mut self) -> Failure {
        loop {
            if let Err(failure) = self.step().await {
                self.close(failure);
                return failure;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        let can_speak = self.is_open && self.message_len.is_none();
        let next = async {
            match can_speak {
                true => self.shore.next(&mut self.message).await,
                false => core::future::pending().await,
            }
        };
        let due = async {
            match self.message_len {
                Some(_) => Timer::at(self.message_at + self.patience.answer).await,
                None => core::future::pending().await,
            }
        };
        match select3(self.line.receive(), next, due).await {
            Either3::First(received) => {
                received?;
                self.take().await
            }
            Either3::Second(len) => {
                self.message_len = Some(len.min(MESSAGE_BYTES));
                self.tries = 0;
                self.say_message().await
            }
            Either3::Third(()) if self.tries >= TRIES => {
                self.close(silent());
                Ok(())
            }
            Either3::Third(()) => self.say_message().await,
        }
    }

    /// Ends the session; what was being said was not delivered.
    fn close(&mut self, failure: Failure) {
        self.is_open = false;
        if self.message_len.take().is_some() {
            self.shore.said(Err(failure));
        }
    }

    async fn say_message(&mut self) -> Result<(), Failure> {
        let len = self.message_len.unwrap_or(0);
        let head = Head {
            kind: Kind::Message,
            session: self.session,
            sequence: self.sequence,
        };
        self.line.send(head, &self.message[..len]).await?;
        self.message_at = Instant::now();
        self.tries += 1;
        Ok(())
    }

    async fn take(&mut self) -> Result<(), Failure> {
        let Some(frame) = self.line.frame() else {
            return Ok(());
        };
        let head = frame.head;
        if head.kind == Kind::Hello {
            let hello = postcard::from_bytes::<Hello>(frame.payload);
            return match hello {
                Ok(hello) => self.greet(head, &hello).await,
                Err(_) => Ok(()),
            };
        }
        if !self.is_open || head.session != self.session {
            return match head.kind {
                Kind::Bye => Ok(()),
                _ => {
                    self.line
                        .send(
                            Head {
                                kind: Kind::Bye,
                                ..head
                            },
                            &[],
                        )
                        .await
                }
            };
        }
        self.tries = 0;
        match head.kind {
            Kind::Message => {
                let reply = self.message();
                self.reply(reply).await
            }
            Kind::Acknowledgement => {
                self.outcome(head.sequence, Ok(()));
                Ok(())
            }
            Kind::Rejection => {
                self.outcome(head.sequence, Err(Failure::Declined));
                Ok(())
            }
            Kind::Wait => {
                self.message_at = Instant::now() + self.patience.answer;
                Ok(())
            }
            Kind::BlobRequest => self.answer().await,
            Kind::Ping => {
                self.line
                    .send(
                        Head {
                            kind: Kind::Pong,
                            ..head
                        },
                        &[],
                    )
                    .await
            }
            Kind::Bye => {
                self.close(Failure::Closed);
                Ok(())
            }
            Kind::Hello | Kind::Pong | Kind::Welcome | Kind::Sorry | Kind::BlobAnswer => Ok(()),
        }
    }

    async fn greet(&mut self, head: Head, hello: &Hello) -> Result<(), Failure> {
        self.close(Failure::Closed);
        let mut out = [0; SESSION_BYTES];
        let admitted = hello.version();
        let admitted = admitted.and_then(|version| {
            let resumed = self.shore.admit(&hello.credentials())?;
            Ok((version, resumed))
        });
        let (kind, payload) = match admitted {
            Ok((version, resumed)) => {
                self.session = self.session.wrapping_add(1).max(1);
                (self.sequence, self.expected, self.is_open) = (0, 0, true);
                let welcome = Welcome {
                    version,
                    payload_bytes: u16::try_from(DEVICE_BYTES).unwrap_or(u16::MAX),
                    resumed,
                };
                (Kind::Welcome, postcard::to_slice(&welcome, &mut out))
            }
            Err(sorry) => (Kind::Sorry, postcard::to_slice(&sorry, &mut out)),
        };
        let payload: &[u8] = payload.expect("both are shorter than a hello");
        let head = Head {
            kind,
            session: self.session,
            sequence: head.sequence,
        };
        self.line.send(head, payload).await
    }

    /// Takes the message in the line; what to reply, if anything.
    fn message(&mut self) -> Option<(Kind, u8, Option<u8>)> {
        let Frame { head, payload } = self.line.frame()?;
        let sequence = head.sequence;
        if sequence == self.expected.wrapping_sub(1) {
            return Some((Kind::Acknowledgement, sequence, None));
        }
        if sequence != self.expected {
            return None;
        }
        self.expected = sequence.wrapping_add(1);
        match decode_up(payload) {
            Ok(message) => {
                self.shore.hear(message);
                Some((Kind::Acknowledgement, sequence, None))
            }
            Err(rejection) => Some((Kind::Rejection, sequence, Some(rejection as u8))),
        }
    }

    async fn reply(&mut self, reply: Option<(Kind, u8, Option<u8>)>) -> Result<(), Failure> {
        let Some((kind, sequence, reason)) = reply else {
            return Ok(());
        };
        let head = Head {
            kind,
            session: self.session,
            sequence,
        };
        self.line.send(head, reason.as_slice()).await
    }

    fn outcome(&mut self, sequence: u8, outcome: Result<(), Failure>) {
        if self.message_len.is_some() && sequence == self.sequence {
            self.message_len = None;
            self.sequence = self.sequence.wrapping_add(1);
            self.shore.said(outcome);
        }
    }

    async fn answer(&mut self) -> Result<(), Failure> {
        let Some(Ok(request)) = self
            .line
            .frame()
            .map(|frame| chunk::decode::<Request>(frame.payload))
        else {
            return Ok(());
        };
        let mut bytes = [0; CHUNK_BYTES];
        let max = usize::try_from(request.max)
            .unwrap_or(CHUNK_BYTES)
            .min(CHUNK_BYTES);
        let piece = match self.shore.piece(&request, &mut bytes[..max]) {
            Some(len) => Piece::Bytes(&bytes[..len.min(max)]),
            None => Piece::Absent,
        };
        let mut out = [0; ANSWER_BYTES];
        let answer = Answer {
            id: request.id,
            piece,
        };
        let answer = chunk::encode(&answer, &mut out).map_err(|_| Failure::TooLarge)?;
        let head = Head {
            kind: Kind::BlobAnswer,
            session: self.session,
            sequence: 0,
        };
        self.line.send(head, answer).await
    }
}

impl<P, S> core::fmt::Debug for Host<P, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
