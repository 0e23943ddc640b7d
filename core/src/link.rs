//! The connection to the fleet: when to connect and with which keys, what is on its way, and when to try again.
//!
//! One message is on its way at a time; it is answered by `Sent`, or given up after [`SEND_TIMEOUT`].
//! Delivery is at least once: every message may be sent again and means the same.

use crate::context::{Backoff, Context};
use crate::event::{Failure, MessageId};
use crate::limits::{CONNECT_TIMEOUT, SEND_TIMEOUT, TUNNEL_RETRY};
use crate::note::Note;
use crate::record::Identity;
use crate::time::Instant;
use crate::wire::KeyKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    /// Asked for; since when.
    Connecting(Instant),
    Up,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cargo {
    Registration,
    Proposal,
    Report,
}

/// What a connection is tried with in the place of what is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The pending key.
    Key(KeyKind),
    /// The pending tunnel.
    Tunnel,
    /// The tunnel of the registration.
    Home,
}

#[derive(Clone, Copy, Debug)]
struct Outgoing {
    id: MessageId,
    cargo: Cargo,
    /// When it is given up.
    until: Instant,
    /// The other end has it; only its reply is missing.
    delivered: bool,
}

#[derive(Debug)]
pub(crate) struct Link {
    phase: Phase,
    backoff: Backoff,
    outgoing: Option<Outgoing>,
    /// Puts off the next message after one that was not delivered.
    send_backoff: Backoff,
    next_message: u32,
    /// Whether this connection was made to register.
    enrolling: bool,
    /// What this connection is tried with, until it is up.
    tried: Option<Attempt>,
    /// What the next connection is to be tried with.
    next: Option<Attempt>,
    /// When another tunnel may be tried while the one in use works.
    tunnel_at: Instant,
    /// When the fleet was reached last, or the device booted.
    reached: Instant,
    /// Whether the connection is to be made anew, with other credentials.
    renew: bool,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    /// It is up.
    Plain,
    /// It is up with what was pending, which is thereby in use.
    With(Attempt),
    /// Nobody asked for it.
    Stray,
}

impl Link {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Down,
            backoff: Backoff::default(),
            outgoing: None,
            send_backoff: Backoff::default(),
            next_message: 1,
            enrolling: false,
            tried: None,
            next: None,
            tunnel_at: Instant::BOOT,
            reached: now,
            renew: false,
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.phase == Phase::Down
    }

    pub(crate) const fn is_enrolling(&self) -> bool {
        self.enrolling
    }

    /// Whether it is time to connect.
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        self.phase == Phase::Down && self.backoff.is_over(now)
    }

    /// Whether the connection must be ended, because other credentials are to be used.
    pub(crate) fn must_end(&self) -> bool {
        self.renew && self.phase != Phase::Down
    }

    /// Marks the connection as asked for; what it is tried with.
    pub(crate) fn connecting(&mut self, now: Instant, identity: &Identity) -> Option<Attempt> {
        self.phase = Phase::Connecting(now);
        self.enrolling = !identity.registered;
        self.tried = self.next.filter(|attempt| identity.may_try(*attempt));
        self.renew = false;
        self.tried
    }

    /// Has the connection made anew: with what is pending, or as a registered device.
    pub(crate) fn renew(&mut self, with: Option<Attempt>) {
        self.next = with;
        self.renew = true;
    }

    /// The fleet told of another tunnel: it is tried as soon as it is saved.
    pub(crate) fn tunnel_offered(&mut self) {
        self.tunnel_at = Instant::BOOT;
    }

    /// Has the connection made anew with the pending tunnel, or with the first one if the fleet is frozen, if it is up without and the time has come.
    pub(crate) fn try_tunnel(&mut self, now: Instant, identity: &Identity, frozen: bool) {
        let is_up = self.phase == Phase::Up && !self.enrolling && !self.renew;
        if !is_up || self.tunnel_at > now {
            return;
        }
        if identity.may_try(Attempt::Tunnel) {
            self.renew(Some(Attempt::Tunnel));
        } else if frozen && identity.may_try(Attempt::Home) {
            self.renew(Some(Attempt::Home));
        }
    }

    pub(crate) fn ended(&mut self) {
        self.send_backoff.reset();
        self.phase = Phase::Down;
        self.outgoing = None;
        self.renew = false;
    }

    pub(crate) fn connected(&mut self, cx: &mut Context) -> Up {
        if !matches!(self.phase, Phase::Connecting(_)) {
            return Up::Stray;
        }
        self.phase = Phase::Up;
        self.next = None;
        if !self.enrolling {
            self.backoff.reset();
        }
        cx.note(Note::Connected);
        self.tried.take().map_or(Up::Plain, Up::With)
    }

    /// Takes the end of a connection, or of an attempt.
    ///
    /// What is refused makes the other be tried next, if there is another: after a cut nobody here knows which of the two the fleet still takes.
    pub(crate) fn disconnected(
        &mut self,
        cx: &mut Context,
        identity: &Identity,
        frozen: bool,
        failure: Failure,
    ) {
        if self.phase == Phase::Down {
            return;
        }
        let was_up = self.phase == Phase::Up;
        let tried = self.tried.take();
        if let Some(Attempt::Tunnel | Attempt::Home) = tried {
            self.tunnel_at = cx.now + TUNNEL_RETRY;
        }
        if was_up {
            self.reached = cx.now;
        }
        let is_lost = frozen || cx.now - self.reached >= TUNNEL_RETRY;
        self.next = after(tried, identity, failure, was_up).or_else(|| {
            let home = is_lost && tried != Some(Attempt::Home) && identity.may_try(Attempt::Home);
            home.then_some(Attempt::Home)
        });
        self.ended();
        self.put_off(cx, failure);
    }

    /// Puts the next attempt off.
    pub(crate) fn put_off(&mut self, cx: &mut Context, failure: Failure) {
        cx.back_off(&mut self.backoff);
        if let Failure::RetryAfter(seconds) = failure {
            self.backoff.obey(cx.now, seconds);
        }
        cx.note(Note::Disconnected {
            failure,
            retry_at: self.backoff.until(),
        });
    }

    /// The fleet said no to what was asked: the connection is ended and made again later.
    pub(crate) fn refused(&mut self, cx: &mut Context, failure: Failure) {
        self.put_off(cx, failure);
        self.renew = true;
    }

    /// Whether something may be sent now.
    pub(crate) fn may_send(&self, now: Instant) -> bool {
        let is_free = self.outgoing.is_none() && self.send_backoff.is_over(now);
        self.phase == Phase::Up && is_free && !self.renew
    }

    pub(crate) fn send(&mut self, now: Instant, cargo: Cargo) -> MessageId {
        let id = MessageId(self.next_message);
        self.next_message = self.next_message.wrapping_add(1);
        self.outgoing = Some(Outgoing {
            id,
            cargo,
            until: now + SEND_TIMEOUT,
            delivered: false,
        });
        id
    }

    /// Takes the answer to a message; what it carried, if it was waited for.
    ///
    /// A registration and a proposal stay on their way until the fleet has replied.
    pub(crate) fn sent(
        &mut self,
        cx: &mut Context,
        id: MessageId,
        result: Result<(), Failure>,
    ) -> Option<Cargo> {
        let outgoing = self.outgoing.as_mut();
        let outgoing = outgoing.filter(|outgoing| outgoing.id == id)?;
        match result {
            Ok(()) => self.send_backoff.reset(),
            Err(Failure::RetryAfter(seconds)) => self.send_backoff.obey(cx.now, seconds),
            Err(_) => cx.back_off(&mut self.send_backoff),
        }
        let cargo = outgoing.cargo;
        match (cargo, result) {
            (Cargo::Registration | Cargo::Proposal, Ok(())) => outgoing.delivered = true,
            (Cargo::Report, Ok(())) | (_, Err(_)) => self.outgoing = None,
        }
        Some(cargo)
    }

    /// Takes the reply to a message that waits for one; whether it was waited for.
    pub(crate) fn replied(&mut self, cargo: Cargo) -> bool {
        let waited = self
            .outgoing
            .is_some_and(|outgoing| outgoing.cargo == cargo);
        if waited {
            self.outgoing = None;
        }
        waited
    }

    /// Whether an attempt or a message has taken too long.
    pub(crate) fn has_timed_out(&self, now: Instant) -> bool {
        self.timeout() <= now
    }

    fn timeout(&self) -> Instant {
        match (self.phase, &self.outgoing) {
            (Phase::Connecting(since), _) => since + CONNECT_TIMEOUT,
            (Phase::Up, Some(outgoing)) => outgoing.until,
            (Phase::Up, None) | (Phase::Down, _) => Instant::NEVER,
        }
    }

    /// When another tunnel is tried again.
    pub(crate) const fn tunnel_at(&self) -> Instant {
        self.tunnel_at
    }

    /// When the connection has to be looked at again.
    pub(crate) fn deadline(&self) -> Instant {
        match (self.phase, &self.outgoing) {
            (Phase::Down, _) => self.backoff.until(),
            (Phase::Up, None) => self.send_backoff.until(),
            (Phase::Connecting(_), _) | (Phase::Up, Some(_)) => self.timeout(),
        }
    }
}

/// What to try after this: what is in use, the pending tunnel and the pending key take turns; the tunnel of the registration comes when nothing else is left to try.
///
/// Never both that are pending at once: what works with one of the old ones is known to the fleet, as it was told over such a connection.
/// A tunnel key or a hub that is not known is answered with silence, so there any failure counts as a refusal.
fn after(
    tried: Option<Attempt>,
    identity: &Identity,
    failure: Failure,
    was_up: bool,
) -> Option<Attempt> {
    let key = identity.pending().map(|key| Attempt::Key(key.kind()));
    match tried {
        Some(Attempt::Key(_) | Attempt::Home) => None,
        Some(Attempt::Tunnel) => key,
        None if !was_up && identity.may_try(Attempt::Tunnel) => Some(Attempt::Tunnel),
        None => key.filter(|key| match key {
            Attempt::Key(KeyKind::Api) => failure == Failure::Unauthorized,
            Attempt::Key(KeyKind::WireGuard) | Attempt::Tunnel | Attempt::Home => !was_up,
        }),
    }
}
