//! What a device says.

use embassy_time::Instant;
use lightship_core::wire::{self, Up};
use lightship_link::Failure;
use lightship_link::chunk::{self, Request};
use lightship_link::limits::UP_BYTES;

use super::super::draft::{Draft, Heading};
use super::super::packet::Terms;
use super::{Phase, Session};
use crate::topics;

/// Memory that is left for what may be said before a message is written: a ping and two acknowledgements.
pub(super) const BEHIND: usize = 16;

/// What is published.
#[derive(Clone, Copy)]
enum Cargo<'c> {
    Presence,
    Message(&'c Up),
    Question(&'c Request),
}

impl Session<'_> {
    /// Subscribes, also when the session is resumed: that brings the retained target.
    pub(super) fn subscribe(&mut self, terms: Terms, now: Instant) -> Result<(), Failure> {
        self.receive_maximum = terms.receive_maximum;
        self.wire.limit(terms.packet_bytes);
        let keep_alive_s = terms.keep_alive_s.unwrap_or(self.keep_alive_s);
        self.deadlines.keep_alive(keep_alive_s);
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

    /// Sends the agent's message, for which there is [room](Self::has_room).
    pub(in super::super) fn carry(&mut self, message: &Up, now: Instant) {
        let id = self.next_id();
        match self.publish(Cargo::Message(message), id, now) {
            Ok(()) => self.message = id,
            Err(failure) => self.news.outcome = Some(Err(failure)),
        }
    }

    /// Sends a question, if it [may](Self::may_ask).
    pub(in super::super) fn ask(&mut self, request: &Request, now: Instant) -> Result<(), Failure> {
        let id = self.next_id();
        self.publish(Cargo::Question(request), id, now)?;
        self.question = id;
        self.deadlines.asked(now);
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
        let bytes = free.len().saturating_sub(BEHIND).min(UP_BYTES);
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
            self.deadlines.owed(now);
        }
        Ok(())
    }

    /// Tells the broker that it need not send this again; nothing is told of what comes at most once.
    pub(super) fn acknowledge(&mut self, id: u16, now: Instant) -> Result<(), Failure> {
        if id == 0 {
            return Ok(());
        }
        let draft = Draft::acknowledge(self.wire.free(), id).finish();
        self.send(draft, now)
    }

    pub(super) fn ping(&mut self, now: Instant) -> Result<(), Failure> {
        let draft = Draft::ping(self.wire.free()).finish();
        self.send(draft, now)
    }

    fn send(&mut self, draft: Option<usize>, now: Instant) -> Result<(), Failure> {
        self.wire.queue(draft)?;
        self.deadlines.sent(now);
        Ok(())
    }

    /// An identifier that nothing has.
    pub(super) fn next_id(&mut self) -> u16 {
        loop {
            *self.last_id = self.last_id.wrapping_add(1);
            if ![self.subscription, self.message, self.question, 0].contains(self.last_id) {
                return *self.last_id;
            }
        }
    }
}

/// What a device subscribes to.
pub(super) fn topics_of(is_registered: bool) -> &'static [&'static str] {
    match is_registered {
        true => &["down", "target", "blob/data"],
        false => &["down"],
    }
}
