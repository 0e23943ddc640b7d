//! One connection: what the agent and the fleet say to each other on two streams.

use core::pin::pin;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Instant, with_timeout};
use lightship_core::wire::Up;
use lightship_link::mailbox::{End, Port, Turn};
use lightship_link::{Credentials, Failure, Known, Misconduct};

use super::line::Line;
use super::target::{self, Answer, Question};
use super::work::{Desk, Letters, Outcome, Reply, SILENT};
use super::{Dial, Patience, Runner, Site};
use crate::protocol::{self, Seen};

/// The agent's side of a connection.
struct Talk<'t, 'a, M: RawMutex, const N: usize> {
    port: &'t mut Port<'a, M, N>,
    letters: &'t Letters<M>,
    seen: Seen,
    is_up: bool,
    is_sending: bool,
}

/// What happened meanwhile.
#[allow(
    clippy::large_enum_variant,
    reason = "there is no allocator to put the large one elsewhere"
)]
enum Meanwhile {
    Turn(Turn),
    Outcome(Outcome),
}

impl<D: Dial, M: RawMutex, const N: usize, const T: usize> Runner<'_, D, M, N, T> {
    pub(super) async fn serve(&mut self, credentials: &Credentials, known: Known) -> End {
        let bearer = protocol::bearer(credentials);
        let bearer = bearer.as_deref();
        let letters = Letters::new();
        let mut line = Line::new(&self.dial);
        if bearer.is_none() {
            // There is nothing to ask yet; that a fleet is there the stream says, and a registration proves itself.
            let opening = with_timeout(self.patience.timeout, line.open());
            match select(opening, self.port.order()).await {
                Either::First(Ok(Ok(()))) => {}
                Either::First(Ok(Err(failure))) => return End::Failed(failure),
                Either::First(Err(_)) => return End::Failed(SILENT),
                Either::Second(wish) => return End::Ordered(wish),
            }
        }
        let desk = Desk {
            line,
            site: self.site,
            bearer,
            timeout: self.patience.timeout,
            letters: &letters,
            asked: &mut self.asked,
            offered: &mut self.offered,
            memory: &mut self.memory.work,
        };
        let mut talk = Talk {
            port: &mut self.port,
            letters: &letters,
            seen: Seen::new(known),
            is_up: false,
            is_sending: false,
        };
        let talking = async {
            match bearer {
                Some(bearer) => {
                    let line = Line::new(&self.dial);
                    let ways = (self.site, bearer, self.patience);
                    talk.carry(line, ways, &mut self.memory.target).await
                }
                None => talk.register().await,
            }
        };
        let end = match select(talking, desk.work()).await {
            Either::First(end) => end,
            Either::Second(never) => never,
        };
        let failure = match &end {
            End::Failed(failure) => *failure,
            End::Ordered(_) => Failure::Closed,
        };
        talk.close(failure).await;
        self.asked.fail(failure);
        self.offered.fail(failure);
        end
    }
}

impl<M: RawMutex, const N: usize> Talk<'_, '_, M, N> {
    /// Only registrations: without an API key there is no target to ask for.
    async fn register(&mut self) -> End {
        self.up().await;
        loop {
            let meanwhile = self.meanwhile(false).await;
            if let Err(end) = self.attend(meanwhile).await {
                return end;
            }
        }
    }

    async fn carry<D: Dial, const T: usize>(
        &mut self,
        mut line: Line<'_, D>,
        (site, bearer, patience): (Site<'_>, &str, Patience),
        memory: &mut target::Memory<N, T>,
    ) -> End {
        // The first answer says whether the credentials are good, so it is not to be held.
        let (mut pause, mut wait) = (Duration::MIN, Duration::MIN);
        loop {
            let question = Question {
                site,
                bearer,
                seen: self.seen.clone(),
                pause,
                wait,
                timeout: patience.timeout,
            };
            let asked_at = Instant::now() + pause;
            let answer = match self.ask(question, &mut line, memory).await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
            if !self.is_up {
                self.up().await;
            }
            let is_held = wait > Duration::MIN && asked_at.elapsed() >= wait / 2;
            let has_more = match self.hand_over(answer, memory).await {
                Ok(has_more) => has_more,
                Err(end) => return end,
            };
            // A server that holds requests may be asked again at once, one that does not, later.
            let is_first = wait == Duration::MIN;
            pause = match has_more || is_held || is_first {
                true => Duration::MIN,
                false => patience.poll,
            };
            wait = patience.wait;
        }
    }

    /// Asks, and attends to the agent until the answer is there.
    async fn ask<D: Dial, const T: usize>(
        &mut self,
        question: Question<'_>,
        line: &mut Line<'_, D>,
        memory: &mut target::Memory<N, T>,
    ) -> Result<Answer, End> {
        let mut asking = pin!(question.ask(line, memory));
        loop {
            match select(asking.as_mut(), self.meanwhile(false)).await {
                Either::First(answer) => return answer.map_err(End::Failed),
                Either::Second(meanwhile) => self.attend(meanwhile).await?,
            }
        }
    }

    /// Gives the agent what came and waits until it was handled, because the next request acknowledges it. False when there was nothing.
    async fn hand_over<const T: usize>(
        &mut self,
        answer: Answer,
        memory: &mut target::Memory<N, T>,
    ) -> Result<bool, End> {
        let tag = match answer {
            Answer::Unchanged => return Ok(false),
            Answer::Message(tag, _) | Answer::Rejected(tag, _) => tag,
        };
        if !self.seen.note(tag) {
            return Err(End::Failed(Failure::Misbehaved(Misconduct::Sequence)));
        }
        match answer {
            Answer::Message(_, len) => {
                // What the agent cannot read it is told of; there is nothing to do here.
                let deliver = self.port.deliver_with(|out| memory.postcard(len, out));
                let _ = deliver.await;
            }
            Answer::Rejected(_, rejection) => self.port.rejected(rejection).await,
            Answer::Unchanged => {}
        }
        loop {
            match self.meanwhile(true).await {
                Meanwhile::Turn(Turn::Handled) => return Ok(true),
                meanwhile => self.attend(meanwhile).await?,
            }
        }
    }

    async fn up(&mut self) {
        self.is_up = true;
        self.port.up(false).await;
    }

    /// Waits for the agent, or for what became of its message. May be dropped.
    async fn meanwhile(&mut self, has_news: bool) -> Meanwhile {
        let has_room = self.is_up && !self.is_sending;
        let turn = self.port.turn(has_room, has_news);
        match select(turn, self.letters.outcome.wait()).await {
            Either::First(turn) => Meanwhile::Turn(turn),
            Either::Second(outcome) => Meanwhile::Outcome(outcome),
        }
    }

    async fn attend(&mut self, meanwhile: Meanwhile) -> Result<(), End> {
        match meanwhile {
            Meanwhile::Turn(Turn::Order(wish)) => Err(End::Ordered(wish)),
            Meanwhile::Turn(Turn::Handled) => Ok(()),
            Meanwhile::Turn(Turn::Message(message)) => {
                if let Up::Report(report) = &message {
                    self.seen.trusts(report.root);
                }
                self.is_sending = true;
                self.letters.outgoing.send(message).await;
                Ok(())
            }
            Meanwhile::Outcome(outcome) => self.settle(outcome).await,
        }
    }

    async fn settle(&mut self, outcome: Outcome) -> Result<(), End> {
        self.is_sending = false;
        match outcome {
            Ok(reply) => {
                self.port.sent().await;
                match reply {
                    Reply::Taken => {}
                    Reply::Message(message) => drop(self.port.deliver(&message).await),
                    Reply::Rejected(rejection) => self.port.rejected(rejection).await,
                }
                Ok(())
            }
            Err(failure) => {
                self.port.unsent(failure).await;
                match failure {
                    Failure::Declined | Failure::TooLarge | Failure::Busy { .. } => Ok(()),
                    Failure::Refused { .. }
                    | Failure::Unreachable(_)
                    | Failure::Untrusted
                    | Failure::TakenOver
                    | Failure::Misbehaved(_)
                    | Failure::Closed => Err(End::Failed(failure)),
                }
            }
        }
    }

    /// Says what became of a message that was under way.
    async fn close(&mut self, failure: Failure) {
        if let Some(outcome) = self.letters.outcome.try_take() {
            // That the connection has failed is known already.
            let _ = self.settle(outcome).await;
        } else if self.is_sending {
            self.port.unsent(failure).await;
        }
    }
}
