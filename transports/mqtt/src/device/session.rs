//! What a device says to a broker and makes of its answers; what is read and written is the [wire](Wire)'s.
//!
//! Nothing here waits: what there is to wait for stands in fields, and the connection waits for all of it at one place.

mod saying;

use core::ops::Range;

use embassy_time::Instant;
use lightship_core::id::Uuid;
use lightship_link::{Credentials, Failure, Misconduct, Secret, Unreachable};

use super::deadlines::{Deadlines, Overdue};
use super::draft::{Draft, Greeting};
use super::packet::{self, Packet, Publish};
use super::wire::{BROKEN, Wire};
use super::{Patience, failure};
use crate::topics::{self, Channel};
use saying::topics_of;

pub(super) const SILENT: Failure = Failure::Unreachable(Unreachable::Silent);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The broker has not answered.
    Greeting,
    /// It has taken the credentials and was asked for the topics.
    Subscribing,
    /// The agent was told that messages flow, or is told next.
    Up,
}

/// What the agent is to hear, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// The connection is up, and whether a session is resumed.
    pub(super) up: Option<bool>,
    /// What became of its message.
    pub(super) outcome: Option<Result<(), Failure>>,
}

/// What came.
pub(super) enum Heard {
    /// Nothing for the agent, or nothing that it can hear now.
    Nothing,
    /// A message for the agent, which is acknowledged when it is [handled](Session::handled): where it lies.
    Message(Range<usize>),
    /// A piece of a blob: where it lies.
    Piece(Range<usize>),
    /// The broker did not take the question.
    Declined,
}

/// One connection, as far as it can be told without waiting. Identifiers that are zero stand for nothing.
pub(super) struct Session<'b> {
    pub(super) wire: Wire<'b>,
    uuid: Uuid,
    is_registered: bool,
    keep_alive_s: u16,
    phase: Phase,
    /// The last identifier; it outlives connections, so that no acknowledgement is taken for another connection's.
    last_id: &'b mut u16,
    /// What is not acknowledged: the subscription, the agent's message, its question.
    subscription: u16,
    message: u16,
    question: u16,
    /// Messages that the broker takes before it has acknowledged the first.
    receive_maximum: u16,
    pub(super) news: News,
    /// What the agent is handling, and is to be acknowledged after that.
    shown: Option<u16>,
    /// Whether a message waits until the agent can hear it; nothing is read meanwhile.
    is_held: bool,
    pub(super) deadlines: Deadlines,
}

impl<'b> Session<'b> {
    /// Greets the broker.
    // Not a part of the future that calls it, whose fields are far away.
    #[inline(never)]
    pub(super) fn new(
        credentials: &Credentials,
        patience: Patience,
        wire: Wire<'b>,
        last_id: &'b mut u16,
        now: Instant,
    ) -> Result<Self, Failure> {
        let mut session = Self {
            wire,
            uuid: credentials.uuid,
            is_registered: matches!(credentials.secret, Secret::Api(_)),
            keep_alive_s: patience.keep_alive_s,
            phase: Phase::Greeting,
            last_id,
            subscription: 0,
            message: 0,
            question: 0,
            receive_maximum: 0,
            news: News::default(),
            shown: None,
            is_held: false,
            deadlines: Deadlines::new(patience.timeout, now),
        };
        let presence = topics::topic(session.uuid, "presence");
        let greeting = Greeting {
            name: &session.uuid.to_text(),
            password: &topics::password(&credentials.secret),
            presence: session.is_registered.then_some(presence.as_str()),
            keep_alive_s: session.keep_alive_s,
            packet_bytes: session.wire.room(),
        };
        let draft = Draft::connect(session.wire.free(), &greeting).finish();
        session.wire.queue(draft)?;
        Ok(session)
    }

    /// Whether a message of the agent has no outcome that it was told.
    pub(super) fn has_message_under_way(&self) -> bool {
        self.message != 0 || self.news.outcome.is_some()
    }

    /// Whether a message of the agent can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.may_publish() && !self.has_message_under_way()
    }

    /// Whether a question can be taken.
    pub(super) fn may_ask(&self) -> bool {
        self.may_publish() && self.question == 0
    }

    fn may_publish(&self) -> bool {
        let is_first = self.message == 0 && self.question == 0;
        self.phase == Phase::Up && self.wire.is_idle() && (is_first || self.receive_maximum > 1)
    }

    /// Whether there is something to do when the agent has handled what it was shown.
    pub(super) fn has_news(&self) -> bool {
        self.is_held || self.is_agent_busy()
    }

    fn is_agent_busy(&self) -> bool {
        self.shown.is_some() || self.news.up.is_some() || self.news.outcome.is_some()
    }

    /// When something must have happened.
    pub(super) fn due(&self) -> Instant {
        self.deadlines.next(!self.is_held)
    }

    /// It has not happened. True when the agent's question gets no answer.
    pub(super) fn overdue(&mut self, now: Instant) -> Result<bool, Failure> {
        match self.deadlines.overdue(now) {
            Overdue::Ping => self.ping(now).map(|()| false),
            Overdue::Piece => Ok(true),
            Overdue::Answer => Err(SILENT),
        }
    }

    /// The agent has handled what it was shown.
    pub(super) fn handled(&mut self, now: Instant) -> Result<(), Failure> {
        match self.shown.take() {
            Some(id) => self.acknowledge(id, now),
            None => Ok(()),
        }
    }

    /// Takes the packet that has come, if one has; a message only when the agent can hear it.
    #[inline(never)]
    pub(super) fn hear(&mut self, is_handled: bool, now: Instant) -> Result<Heard, Failure> {
        let Some(bytes) = self.wire.packet().map_err(Failure::Misbehaved)? else {
            return Ok(Heard::Nothing);
        };
        let len = bytes.len();
        match packet::decode(bytes).map_err(Failure::Misbehaved)? {
            Packet::Farewell(reason) => return Err(failure::of(reason, BROKEN)),
            Packet::Refusal(reason) => return Err(failure::of(reason, out_of_turn())),
            Packet::Welcome(terms) if self.phase == Phase::Greeting => {
                self.wire.taken();
                self.subscribe(terms, now)?;
            }
            Packet::Welcome(_) => return Err(out_of_turn()),
            _ if self.phase == Phase::Greeting => return Err(out_of_turn()),
            Packet::Publish(Publish { topic, id, payload }) => {
                let channel = topics::channel(self.uuid, topic);
                let channel = channel.ok_or(Failure::Misbehaved(Misconduct::NotOurs))?;
                let place = len - payload.len()..len;
                return self.take((channel, id, place), is_handled, now);
            }
            Packet::Subscribed { id, reasons } => {
                let count = reasons.len();
                let is_taken = reasons.iter().all(|reason| *reason < 0x80);
                self.wire.taken();
                if id == self.subscription {
                    self.subscribed(count, is_taken)?;
                    self.settle(now);
                }
            }
            Packet::Acknowledgement { id, reason } => {
                self.wire.taken();
                return Ok(self.acknowledged(id, reason, now));
            }
            Packet::Alive => {
                self.wire.taken();
                self.deadlines.pong();
            }
        }
        Ok(Heard::Nothing)
    }

    fn take(
        &mut self,
        (channel, id, place): (Channel, u16, Range<usize>),
        is_handled: bool,
        now: Instant,
    ) -> Result<Heard, Failure> {
        // A broker may send what is retained before it says that it is subscribed to.
        self.open(false);
        let is_free = is_handled && !self.is_agent_busy();
        if channel == Channel::Message && !is_free {
            self.is_held = true;
            return Ok(Heard::Nothing);
        }
        if self.is_held {
            self.is_held = false;
            self.deadlines.begin_anew(now);
        }
        self.wire.taken();
        match channel {
            Channel::Message => {
                self.shown = Some(id);
                Ok(Heard::Message(place))
            }
            Channel::Blob => {
                self.acknowledge(id, now)?;
                Ok(Heard::Piece(place))
            }
        }
    }

    fn subscribed(&mut self, reasons: usize, is_taken: bool) -> Result<(), Failure> {
        self.subscription = 0;
        if !is_taken {
            let retry_after_s = None;
            return Err(Failure::Refused { retry_after_s });
        }
        if reasons != topics_of(self.is_registered).len() {
            return Err(Failure::Misbehaved(Misconduct::Garbage));
        }
        self.open(false);
        Ok(())
    }

    fn open(&mut self, resumed: bool) {
        if self.phase == Phase::Subscribing {
            self.phase = Phase::Up;
            self.news.up = Some(resumed);
        }
    }

    /// What is acknowledged and was not sent in this connection is old news.
    fn acknowledged(&mut self, id: u16, reason: u8, now: Instant) -> Heard {
        let verdict = failure::acknowledged(reason);
        let mut heard = Heard::Nothing;
        if id == self.message {
            self.message = 0;
            self.news.outcome = Some(verdict);
        } else if id == self.question {
            self.question = 0;
            if verdict.is_err() {
                heard = Heard::Declined;
            }
        } else {
            return heard;
        }
        self.settle(now);
        heard
    }

    fn settle(&mut self, now: Instant) {
        let is_more_owed = (self.subscription | self.message | self.question) != 0;
        self.deadlines.acknowledged(is_more_owed, now);
    }
}

fn out_of_turn() -> Failure {
    Failure::Misbehaved(Misconduct::Sequence)
}

#[cfg(test)]
mod tests;
