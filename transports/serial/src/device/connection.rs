//! One session.

use embassy_futures::select::{Either4, select4};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Instant, Timer};
use embedded_io_async::{Read, Write};
use heapless::Deque;
use lightship_core::wire::{self, Rejection, Up, decode_down};
use lightship_link::chunk::{self, Answer, Asked, Request};
use lightship_link::limits::UP_BYTES;
use lightship_link::mailbox::{Port, Turn};
use lightship_link::{Failure, Misconduct};

use super::{DeviceLine, End};
use crate::frame::{Frame, Head, Kind};
use crate::limits::{NEWS, TRIES};
use crate::line::{Patience, broken, silent};
use crate::session::Welcome;

/// What the agent is to hear, in order.
#[derive(Clone, Copy, Debug)]
enum News {
    Up { resumed: bool },
    Rejected(Rejection),
    Sent,
    Unsent(Failure),
}

/// What a frame asks to be done, which needs the line that the frame lies in.
enum Todo {
    Nothing,
    /// Hand over the message in the frame.
    Deliver(u8),
    Reply(Kind, u8),
    /// Say why a message could not be read.
    Reject(u8, Rejection),
}

pub(super) struct Connection {
    session: u8,
    payload_bytes: usize,
    patience: Patience,
    news: Deque<News, NEWS>,
    /// Sequence of the message that the agent is handling.
    shown: Option<u8>,
    /// Sequence of the message that comes next.
    expected: u8,
    sequence: u8,
    message: [u8; UP_BYTES],
    message_len: Option<usize>,
    message_at: Instant,
    question_at: Option<Instant>,
    heard_at: Instant,
    pings: u32,
    /// Repetitions without hearing anything.
    tries: u32,
}

impl Connection {
    pub(super) fn new(session: u8, welcome: Welcome, patience: Patience) -> Self {
        let mut news = Deque::new();
        let up = News::Up {
            resumed: welcome.resumed,
        };
        news.push_back(up).expect("it is empty");
        Self {
            session,
            payload_bytes: welcome.payload_bytes.into(),
            patience,
            news,
            shown: None,
            expected: 0,
            sequence: 0,
            message: [0; UP_BYTES],
            message_len: None,
            message_at: Instant::MIN,
            question_at: None,
            heard_at: Instant::now(),
            pings: 0,
            tries: 0,
        }
    }

    pub(super) fn head(&self, kind: Kind, sequence: u8) -> Head {
        Head {
            kind,
            session: self.session,
            sequence,
        }
    }

    pub(super) fn has_message_under_way(&self) -> bool {
        let outcome = |news: &News| matches!(news, News::Sent | News::Unsent(_));
        self.message_len.is_some() || self.news.iter().any(outcome)
    }

    pub(super) async fn carry<P: Read + Write, M: RawMutex>(
        &mut self,
        line: &mut DeviceLine<P>,
        port: &mut Port<'_, M>,
        asked: &mut Asked<'_, M>,
    ) -> End {
        loop {
            let has_news = self.shown.is_some() || !self.news.is_empty();
            let has_room = !self.has_message_under_way();
            let due = Timer::at(self.due(asked));
            let turn = port.turn(has_room, has_news);
            let step = match select4(line.receive(), turn, asked.question(), due).await {
                Either4::First(Ok(())) => self.take(line, port, asked).await,
                Either4::First(Err(failure)) => Err(failure),
                Either4::Second(Turn::Order(wish)) => return End::Ordered(wish),
                Either4::Second(Turn::Message(message)) => self.accept(&message, line).await,
                Either4::Second(Turn::Handled) => self.tell(line, port).await,
                Either4::Third(request) => self.ask(&request, line).await,
                Either4::Fourth(()) => self.repeat(line, asked).await,
            };
            if let Err(failure) = step {
                return End::Failed(failure);
            }
        }
    }

    /// When there is something to say again, or to ask whether anybody is there.
    fn due<M: RawMutex>(&self, asked: &Asked<'_, M>) -> Instant {
        let message = self
            .message_len
            .map(|_| self.message_at + self.patience.answer);
        let question = asked.open().and(self.question_at);
        let question = question.map(|at| at + self.patience.answer);
        let wait = match self.pings {
            0 => self.patience.ping,
            pings => self.patience.ping + self.patience.answer * pings,
        };
        let ping = Some(self.heard_at + wait);
        let due = [message, question, ping].into_iter().flatten().min();
        due.expect("a ping is always due some time")
    }

    async fn repeat<P: Read + Write, M: RawMutex>(
        &mut self,
        line: &mut DeviceLine<P>,
        asked: &Asked<'_, M>,
    ) -> Result<(), Failure> {
        self.tries += 1;
        if self.tries > TRIES {
            return Err(silent());
        }
        let now = Instant::now();
        if self.message_len.is_some() && self.message_at + self.patience.answer <= now {
            return self.say_message(line).await;
        }
        match (asked.open().copied(), self.question_at) {
            (Some(request), Some(at)) if at + self.patience.answer <= now => {
                self.ask(&request, line).await
            }
            _ => {
                self.pings += 1;
                line.send(self.head(Kind::Ping, 0), &[]).await
            }
        }
    }

    /// Says the next thing to the agent, which has handled the last.
    async fn tell<P: Read + Write, M: RawMutex>(
        &mut self,
        line: &mut DeviceLine<P>,
        port: &mut Port<'_, M>,
    ) -> Result<(), Failure> {
        if let Some(sequence) = self.shown.take() {
            self.expected = sequence.wrapping_add(1);
            line.send(self.head(Kind::Acknowledgement, sequence), &[])
                .await?;
        }
        match self.news.pop_front() {
            Some(News::Up { resumed }) => port.up(resumed).await,
            Some(News::Rejected(rejection)) => port.rejected(rejection).await,
            Some(News::Sent) => port.sent().await,
            Some(News::Unsent(failure)) => port.unsent(failure).await,
            None => {}
        }
        Ok(())
    }

    fn news(&mut self, news: News) -> Result<(), Failure> {
        // Up, one outcome and a rejection fit; more is a far end that does not wait for answers.
        self.news
            .push_back(news)
            .map_err(|_| Failure::Misbehaved(Misconduct::Sequence))
    }

    async fn take<P: Read + Write, M: RawMutex>(
        &mut self,
        line: &mut DeviceLine<P>,
        port: &mut Port<'_, M>,
        asked: &mut Asked<'_, M>,
    ) -> Result<(), Failure> {
        let Some(frame) = line
            .frame()
            .filter(|frame| frame.head.session == self.session)
        else {
            return Ok(());
        };
        self.heard_at = Instant::now();
        (self.tries, self.pings) = (0, 0);
        match self.judge(&frame, asked, port.is_handled())? {
            Todo::Nothing => Ok(()),
            Todo::Reply(kind, sequence) => line.send(self.head(kind, sequence), &[]).await,
            Todo::Deliver(sequence) => {
                // There is room, and it was read once, so neither waiting nor a rejection can happen.
                let _ = port.deliver(frame.payload).await;
                self.shown = Some(sequence);
                Ok(())
            }
            Todo::Reject(sequence, rejection) => {
                self.expected = sequence.wrapping_add(1);
                self.news(News::Rejected(rejection))?;
                let reason = [rejection as u8];
                line.send(self.head(Kind::Rejection, sequence), &reason)
                    .await
            }
        }
    }

    fn judge<M: RawMutex>(
        &mut self,
        frame: &Frame<'_>,
        asked: &mut Asked<'_, M>,
        is_handled: bool,
    ) -> Result<Todo, Failure> {
        let sequence = frame.head.sequence;
        match frame.head.kind {
            Kind::Message => Ok(self.message(frame, is_handled)),
            Kind::Acknowledgement => self.outcome(sequence, News::Sent),
            Kind::Rejection => self.outcome(sequence, News::Unsent(Failure::Declined)),
            Kind::Wait => {
                if sequence == self.sequence {
                    self.message_at = Instant::now() + self.patience.answer;
                }
                Ok(Todo::Nothing)
            }
            Kind::BlobAnswer => {
                // An answer to no question is old news of a question that was given up.
                if let Ok(answer) = chunk::decode::<Answer<'_>>(frame.payload) {
                    asked.answer(&answer);
                }
                Ok(Todo::Nothing)
            }
            Kind::Ping => Ok(Todo::Reply(Kind::Pong, sequence)),
            Kind::Pong => Ok(Todo::Nothing),
            Kind::Bye => Err(broken()),
            // A late answer to a hello that was repeated.
            Kind::Welcome | Kind::Sorry => Ok(Todo::Nothing),
            Kind::Hello | Kind::BlobRequest => Err(Failure::Misbehaved(Misconduct::Sequence)),
        }
    }

    fn message(&self, frame: &Frame<'_>, is_handled: bool) -> Todo {
        let sequence = frame.head.sequence;
        if sequence == self.expected.wrapping_sub(1) {
            return Todo::Reply(Kind::Acknowledgement, sequence);
        }
        if sequence != self.expected {
            return Todo::Nothing;
        }
        if self.shown.is_some() || !is_handled || !self.news.is_empty() {
            return Todo::Reply(Kind::Wait, sequence);
        }
        match decode_down(frame.payload) {
            Ok(_) => Todo::Deliver(sequence),
            Err(rejection) => Todo::Reject(sequence, rejection),
        }
    }

    fn outcome(&mut self, sequence: u8, news: News) -> Result<Todo, Failure> {
        if self.message_len.is_some() && sequence == self.sequence {
            self.message_len = None;
            self.sequence = self.sequence.wrapping_add(1);
            self.news(news)?;
        }
        Ok(Todo::Nothing)
    }

    async fn accept<P: Read + Write>(
        &mut self,
        message: &Up,
        line: &mut DeviceLine<P>,
    ) -> Result<(), Failure> {
        let len = match wire::encode(message, &mut self.message) {
            Ok(bytes) if bytes.len() <= self.payload_bytes => bytes.len(),
            Ok(_) | Err(_) => return self.news(News::Unsent(Failure::TooLarge)),
        };
        self.message_len = Some(len);
        self.say_message(line).await
    }

    async fn say_message<P: Read + Write>(
        &mut self,
        line: &mut DeviceLine<P>,
    ) -> Result<(), Failure> {
        let len = self.message_len.unwrap_or(0);
        let head = self.head(Kind::Message, self.sequence);
        line.send(head, &self.message[..len]).await?;
        self.message_at = Instant::now();
        Ok(())
    }

    async fn ask<P: Read + Write>(
        &mut self,
        request: &Request,
        line: &mut DeviceLine<P>,
    ) -> Result<(), Failure> {
        let mut out = [0; chunk::REQUEST_BYTES];
        let question = chunk::encode(request, &mut out).map_err(|_| Failure::TooLarge)?;
        line.send(self.head(Kind::BlobRequest, 0), question).await?;
        self.question_at = Some(Instant::now());
        Ok(())
    }
}
