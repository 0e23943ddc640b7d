//! What a device says to a broker and makes of its answers; what is read and written is the [wire](Wire)'s.
//!
//! Nothing here waits: what there is to wait for stands in fields, and the connection waits for all of it at one place.

use core::ops::Range;

use embassy_time::{Duration, Instant};
use lightship_core::id::Uuid;
use lightship_core::wire::{self, Up};
use lightship_link::chunk::{self, Request};
use lightship_link::limits::UP_BYTES;
use lightship_link::{Credentials, Failure, Misconduct, Secret, Unreachable};

use super::draft::{Draft, Greeting, Heading};
use super::packet::{self, Packet, Publish, Terms};
use super::wire::Wire;
use super::{Patience, failure};
use crate::topics::{self, Channel};

pub(super) const SILENT: Failure = Failure::Unreachable(Unreachable::Silent);
/// Further away than anything that is waited for.
pub(super) const NEVER: Instant = Instant::MAX;
/// How long before the end of a keep-alive the ping leaves, in seconds, or half of it where that is less.
const PING_LEAD_S: u16 = 5;

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

/// What is published.
#[derive(Clone, Copy)]
enum Cargo<'c> {
    Presence,
    Message(&'c Up),
    Question(&'c Request),
}

/// One connection, as far as it can be told without waiting. Identifiers that are zero stand for nothing.
pub(super) struct Session<'b> {
    pub(super) wire: Wire<'b>,
    uuid: Uuid,
    is_registered: bool,
    timeout: Duration,
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
    /// When the broker must have acknowledged something.
    answer_due: Instant,
    /// When the fleet must have answered the question.
    pub(super) piece_due: Instant,
    ping_every: Duration,
    ping_due: Instant,
    /// When a ping must be answered.
    pong_due: Instant,
}

impl<'b> Session<'b> {
    /// Greets the broker.
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
            timeout: patience.timeout,
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
            answer_due: now + patience.timeout,
            piece_due: NEVER,
            ping_every: Duration::MAX,
            ping_due: NEVER,
            pong_due: NEVER,
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

    /// When something must have happened. What cannot be read is not waited for.
    pub(super) fn due(&self) -> Instant {
        let ping_due = match self.pong_due {
            NEVER => self.ping_due,
            _ => NEVER,
        };
        if self.is_held {
            return ping_due;
        }
        let answers = self.answer_due.min(self.piece_due).min(self.pong_due);
        answers.min(ping_due)
    }

    /// What is due has not happened. True when the fleet has not answered a question: it may answer the next, but a broker that is silent is gone.
    pub(super) fn overdue(&mut self, now: Instant) -> Result<bool, Failure> {
        if self.pong_due == NEVER && self.ping_due <= now {
            self.pong_due = now + self.timeout;
            let draft = Draft::ping(self.wire.free()).finish();
            self.send(draft, now)?;
            return Ok(false);
        }
        if self.piece_due > now {
            return Err(SILENT);
        }
        self.piece_due = NEVER;
        Ok(true)
    }

    /// The agent has handled what it was shown.
    pub(super) fn handled(&mut self, now: Instant) -> Result<(), Failure> {
        match self.shown.take() {
            Some(id) => self.acknowledge(id, now),
            None => Ok(()),
        }
    }

    /// Takes the packet that has come, if one has; a message only when the agent can hear it.
    pub(super) fn hear(&mut self, is_handled: bool, now: Instant) -> Result<Heard, Failure> {
        let Some(bytes) = self.wire.packet().map_err(Failure::Misbehaved)? else {
            return Ok(Heard::Nothing);
        };
        let len = bytes.len();
        match packet::decode(bytes).map_err(Failure::Misbehaved)? {
            Packet::Farewell(reason) => return Err(failure::disconnected(reason)),
            Packet::Refusal(reason) => return Err(failure::refused(reason)),
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
                self.pong_due = NEVER;
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
            self.wait_anew(now);
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

    /// Nothing was read for a while, so nothing can have been answered.
    fn wait_anew(&mut self, now: Instant) {
        for due in [
            &mut self.answer_due,
            &mut self.piece_due,
            &mut self.pong_due,
        ] {
            *due = (*due).max(now + self.timeout);
        }
    }

    /// Subscribes, also when the session is resumed: that brings the retained target.
    fn subscribe(&mut self, terms: Terms, now: Instant) -> Result<(), Failure> {
        self.receive_maximum = terms.receive_maximum;
        self.wire.limit(terms.packet_bytes);
        let keep_alive_s = terms.keep_alive_s.unwrap_or(self.keep_alive_s);
        self.ping_every = match keep_alive_s {
            0 => Duration::MAX,
            1.. => Duration::from_secs((keep_alive_s - PING_LEAD_S.min(keep_alive_s / 2)).into()),
        };
        self.phase = Phase::Subscribing;
        self.subscription = self.next_id();
        let mut draft = Draft::subscribe(self.wire.free(), self.subscription);
        for name in topics_of(self.is_registered) {
            draft.filter(&topics::topic(self.uuid, name));
        }
        let draft = draft.finish();
        self.send(draft, now)?;
        self.settle(now);
        if terms.is_resumed {
            // What was kept may come before the answer, so the agent must know.
            self.open(true);
        }
        match self.is_registered {
            true => self.publish(Cargo::Presence, 0, now),
            false => Ok(()),
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

    /// The broker has acknowledged something: it has as long again for the rest.
    fn settle(&mut self, now: Instant) {
        self.answer_due = match self.subscription | self.message | self.question {
            0 => NEVER,
            _ => now + self.timeout,
        };
    }

    /// Sends the agent's message, for which there is [room](Self::has_room).
    pub(super) fn carry(&mut self, message: &Up, now: Instant) {
        let id = self.next_id();
        match self.publish(Cargo::Message(message), id, now) {
            Ok(()) => self.message = id,
            Err(failure) => self.news.outcome = Some(Err(failure)),
        }
    }

    /// Sends a question, if it [may](Self::may_ask).
    pub(super) fn ask(&mut self, request: &Request, now: Instant) -> Result<(), Failure> {
        let id = self.next_id();
        self.publish(Cargo::Question(request), id, now)?;
        self.question = id;
        self.piece_due = now + self.timeout;
        Ok(())
    }

    /// Presence at most once: should the connection break before it arrives, the last will says so.
    fn publish(&mut self, cargo: Cargo<'_>, id: u16, now: Instant) -> Result<(), Failure> {
        let answers = topics::topic(self.uuid, "blob/data");
        let (name, reply) = match cargo {
            Cargo::Presence => ("presence", None),
            Cargo::Message(_) => ("up", None),
            Cargo::Question(request) => ("blob/get", Some((answers.as_str(), request.id))),
        };
        let heading = Heading {
            topic: &topics::topic(self.uuid, name),
            id,
            is_retained: id == 0,
            reply,
        };
        let mut draft = Draft::publish(self.wire.free(), &heading);
        let free = draft.free();
        let bytes = free.len().min(UP_BYTES);
        let free = &mut free[..bytes];
        let len = match cargo {
            Cargo::Presence => {
                draft.put(&[1]);
                Some(0)
            }
            Cargo::Message(message) => wire::encode(message, free).ok().map(<[u8]>::len),
            Cargo::Question(request) => chunk::encode(request, free).ok().map(<[u8]>::len),
        };
        draft.grow(len);
        let draft = draft.finish();
        self.send(draft, now)?;
        if id != 0 {
            self.answer_due = self.answer_due.min(now + self.timeout);
        }
        Ok(())
    }

    /// Tells the broker that it need not send this again; nothing is told of what comes at most once.
    fn acknowledge(&mut self, id: u16, now: Instant) -> Result<(), Failure> {
        if id == 0 {
            return Ok(());
        }
        let draft = Draft::acknowledge(self.wire.free(), id).finish();
        self.send(draft, now)
    }

    fn send(&mut self, draft: Option<usize>, now: Instant) -> Result<(), Failure> {
        self.wire.queue(draft)?;
        self.ping_due = now.checked_add(self.ping_every).unwrap_or(NEVER);
        Ok(())
    }

    /// An identifier that nothing has.
    fn next_id(&mut self) -> u16 {
        loop {
            *self.last_id = self.last_id.wrapping_add(1);
            if ![self.subscription, self.message, self.question, 0].contains(self.last_id) {
                return *self.last_id;
            }
        }
    }
}

/// What a device subscribes to.
fn topics_of(is_registered: bool) -> &'static [&'static str] {
    match is_registered {
        true => &["down", "target", "blob/data"],
        false => &["down"],
    }
}

fn out_of_turn() -> Failure {
    Failure::Misbehaved(Misconduct::Sequence)
}

#[cfg(test)]
mod tests;
