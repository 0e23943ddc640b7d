//! Several links behind one, in order of preference.

use core::mem::discriminant;

use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Instant, Timer};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::Up;

use crate::contract::{Credentials, Event, Known, Link, NotTaken};
use crate::failure::Failure;
use crate::mailbox::{Brief, Handle};

/// The links of one device. Position 0 is preferred.
#[derive(Debug)]
pub struct Fallback<'a, M: RawMutex, const LINKS: usize, const N: usize = MESSAGE_BYTES> {
    links: [Handle<'a, M, N>; LINKS],
    /// How many of them are used, the first ones.
    used: usize,
    /// Time between attempts to go back to a preferred link.
    again: Duration,
    state: State,
    wanted: Option<(Credentials, Known)>,
    /// The link that was used last, as the agent knows it.
    last: usize,
    /// The link that is tried first: the one that worked last, or the one after a link that said it was up and let nothing through.
    first: usize,
    /// Why that one is not the one that was used last.
    lost: Option<Failure>,
    /// The link whose last words the agent hears when no connection is wanted.
    heard: usize,
    /// Whether anything went through on the open link.
    is_proved: bool,
    /// When a preferred link is to be tried again; none while the first is used.
    preferred_at: Option<Instant>,
    /// A message that waits for a switch to end.
    held: Option<Up>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No connection, and none wanted.
    Idle,
    /// One link after the other is tried; this is the `attempt`th.
    Trying {
        attempt: usize,
        worst: Option<Failure>,
    },
    /// One link is up, and said so or is about to.
    Open { at: usize },
    /// One link is up and a preferred one is being connected beside it.
    Probing { at: usize, next: usize },
    /// The preferred one is up; what is left of the old one is being heard.
    Leaving { at: usize, next: usize },
}

/// What [`Fallback::turn`] found that the agent is to hear.
enum Heard {
    /// The event that lies at this link.
    At(usize),
    Switched {
        to: usize,
        why: Option<Failure>,
    },
    Down(Failure),
}

impl<'a, M: RawMutex, const LINKS: usize, const N: usize> Fallback<'a, M, LINKS, N> {
    /// These links, the preferred one first. `again` is the time between attempts to go back to a preferred one.
    ///
    /// # Panics
    ///
    /// Without any link, which is a mistake of the program.
    pub fn new(links: [Handle<'a, M, N>; LINKS], again: Duration) -> Self {
        assert!(LINKS > 0, "a device without a link reaches nobody");
        Self {
            links,
            used: LINKS,
            again,
            state: State::Idle,
            wanted: None,
            last: 0,
            first: 0,
            lost: None,
            heard: 0,
            is_proved: false,
            preferred_at: None,
            held: None,
        }
    }

    /// Uses only the first `used` of them, at least one: which links there are may be known only when the program runs.
    #[must_use]
    pub fn using(mut self, used: usize) -> Self {
        self.used = used.clamp(1, LINKS);
        self
    }

    /// The link of this attempt: the first, then the others in order.
    fn link_of(&self, attempt: usize) -> usize {
        match attempt {
            0 => self.first,
            other if other <= self.first => other - 1,
            other => other,
        }
    }

    fn connect_to(&mut self, at: usize) {
        if let Some((credentials, known)) = &self.wanted {
            self.links[at].connect(credentials, *known);
        }
    }

    /// The link whose messages the agent hears.
    fn current(&self) -> usize {
        match self.state {
            State::Idle => self.heard,
            State::Trying { attempt, .. } => self.link_of(attempt),
            State::Open { at } | State::Probing { at, .. } | State::Leaving { at, .. } => at,
        }
    }

    fn open(&mut self, at: usize) {
        (self.last, self.first, self.is_proved) = (at, at, false);
        self.state = State::Open { at };
        self.preferred_at = match (at, self.preferred_at) {
            (0, _) => None,
            // A connection that breaks and is made again does not put the preferred one off.
            (_, Some(moment)) if moment > Instant::now() => Some(moment),
            (_, Some(_) | None) => Some(Instant::now() + self.again),
        };
        if let Some(message) = self.held.take() {
            // What cannot be taken was not held: the link that comes up has nothing on its way.
            let _ = self.links[at].send(message);
        }
    }

    /// One thing that happens; nothing when the agent need not hear of it.
    async fn turn(&mut self) -> Option<Heard> {
        let current = self.current();
        match self.state {
            State::Idle => {
                self.links[current].peek().await;
                Some(Heard::At(current))
            }
            State::Trying { attempt, worst } => match self.links[current].peek().await {
                Brief::Passed | Brief::Other => Some(Heard::At(current)),
                Brief::Up => {
                    let why = worst.or(self.lost.take());
                    let is_new = current != self.last;
                    self.open(current);
                    Some(match is_new {
                        true => Heard::Switched { to: current, why },
                        false => Heard::At(current),
                    })
                }
                Brief::Down(failure) => self.next_attempt(attempt, worst, failure),
            },
            State::Open { at } => {
                let preferred_at = self.preferred_at;
                let due = async {
                    match preferred_at {
                        None => core::future::pending().await,
                        Some(moment) => Timer::at(moment).await,
                    }
                };
                let peek = self.links[at].peek();
                match select3(peek, due, core::future::pending::<()>()).await {
                    Either3::First(brief) => Some(self.at_open(at, brief)),
                    Either3::Second(()) => {
                        self.state = State::Probing { at, next: 0 };
                        self.connect_to(0);
                        None
                    }
                    Either3::Third(()) => None,
                }
            }
            State::Probing { at, next } => self.probe(at, next).await,
            State::Leaving { at, next } => match self.links[at].peek().await {
                Brief::Down(_) => {
                    self.links[at].skip();
                    self.open(next);
                    Some(Heard::Switched {
                        to: next,
                        why: None,
                    })
                }
                Brief::Up | Brief::Passed | Brief::Other => Some(Heard::At(at)),
            },
        }
    }

    fn at_open(&mut self, at: usize, brief: Brief) -> Heard {
        match brief {
            Brief::Down(failure) => self.closed(at, failure),
            Brief::Passed => self.is_proved = true,
            Brief::Up | Brief::Other => {}
        }
        Heard::At(at)
    }

    /// A link that comes up and lets nothing through would otherwise be used for ever.
    fn closed(&mut self, at: usize, failure: Failure) {
        (self.state, self.heard) = (State::Idle, at);
        if !self.is_proved {
            self.first = (at + 1) % self.used;
            self.lost = Some(failure);
        }
    }

    fn next_attempt(
        &mut self,
        attempt: usize,
        worst: Option<Failure>,
        failure: Failure,
    ) -> Option<Heard> {
        let at = self.link_of(attempt);
        self.links[at].skip();
        let worst = match (worst, failure) {
            (Some(refused @ Failure::Refused { .. }), _) => refused,
            // Who asks for patience is to get it, whatever else could not be reached.
            (Some(busy @ Failure::Busy { .. }), other)
                if !matches!(other, Failure::Refused { .. }) =>
            {
                busy
            }
            (Some(_) | None, failure) => failure,
        };
        if attempt + 1 == self.used {
            self.state = State::Idle;
            return Some(Heard::Down(worst));
        }
        self.state = State::Trying {
            attempt: attempt + 1,
            worst: Some(worst),
        };
        self.connect_to(self.link_of(attempt + 1));
        None
    }

    async fn probe(&mut self, at: usize, next: usize) -> Option<Heard> {
        // The preferred link comes first in the array, so both can be borrowed.
        let (before, after) = self.links.split_at_mut(at);
        let (preferred, open) = (&mut before[next], &mut after[0]);
        let never = core::future::pending::<()>();
        match select3(open.peek(), preferred.peek(), never).await {
            Either3::First(brief) => {
                if let Brief::Down(_) = brief {
                    // Whatever comes of the probe, the agent is to ask for a connection again.
                    preferred.disconnect();
                }
                Some(self.at_open(at, brief))
            }
            Either3::Second(Brief::Up) => {
                open.disconnect();
                self.state = State::Leaving { at, next };
                None
            }
            Either3::Second(Brief::Down(_)) => {
                preferred.skip();
                if next + 1 < at {
                    self.state = State::Probing { at, next: next + 1 };
                    self.connect_to(next + 1);
                } else {
                    self.state = State::Open { at };
                    self.preferred_at = Some(Instant::now() + self.again);
                }
                None
            }
            // Nothing was sent on it, so this is nothing that anybody waits for.
            Either3::Second(Brief::Passed | Brief::Other) => {
                preferred.skip();
                None
            }
            Either3::Third(()) => None,
        }
    }
}

impl<M: RawMutex, const LINKS: usize, const N: usize> Link for Fallback<'_, M, LINKS, N> {
    fn connect(&mut self, credentials: &Credentials, known: Known) {
        // What a device may use may depend on who it is, and what failed long ago may work by now.
        let is_somebody_else = match &self.wanted {
            Some((before, _)) => discriminant(&before.secret) != discriminant(&credentials.secret),
            None => false,
        };
        let is_due = self
            .preferred_at
            .is_some_and(|moment| moment <= Instant::now());
        if is_somebody_else || is_due {
            self.first = 0;
        }
        self.disconnect_all_but(self.first);
        self.wanted = Some((credentials.clone(), known));
        self.state = State::Trying {
            attempt: 0,
            worst: None,
        };
        self.connect_to(self.first);
    }

    fn disconnect(&mut self) {
        let current = self.current();
        (self.first, self.heard) = (current, current);
        self.disconnect_all_but(current);
        self.wanted = None;
        self.state = State::Idle;
        self.links[current].disconnect();
    }

    fn send(&mut self, message: Up) -> Result<(), NotTaken> {
        if self.held.is_some() {
            return Err(NotTaken);
        }
        if let State::Leaving { at, .. } = self.state
            && !self.links[at].is_sending()
        {
            self.held = Some(message);
            return Ok(());
        }
        let current = self.current();
        self.links[current].send(message)
    }

    async fn next(&mut self) -> Event<'_> {
        let heard = loop {
            if let Some(heard) = self.turn().await {
                break heard;
            }
        };
        match heard {
            Heard::At(at) => self.links[at].show(),
            Heard::Switched { to, why } => Event::Switched {
                to: u8::try_from(to).unwrap_or(u8::MAX),
                why,
            },
            Heard::Down(failure) => Event::Down(failure),
        }
    }
}

impl<M: RawMutex, const LINKS: usize, const N: usize> Fallback<'_, M, LINKS, N> {
    /// Ends every connection but one, which the caller replaces or ends itself.
    fn disconnect_all_but(&mut self, kept: usize) {
        for (at, link) in self.links.iter_mut().enumerate() {
            if at != kept {
                link.disconnect();
            }
        }
    }
}

#[cfg(test)]
mod tests;
