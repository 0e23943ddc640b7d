//! One connection to a broker: the place that waits.

use core::future::pending;

use embassy_futures::select::{Either, Either4, select, select4};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Instant, Timer, with_deadline};
use lightship_link::Failure;
use lightship_link::chunk::{self, Answer, Asked};
use lightship_link::mailbox::{Port, Turn, Wish};

use super::Dial;
use super::deadlines::NEVER;
use super::session::{Heard, SILENT, Session};

/// Dials, and carries messages until something else is wanted or the connection fails.
pub(super) async fn serve<D: Dial, M: RawMutex, const N: usize>(
    dial: &mut D,
    session: &mut Session<'_>,
    port: &mut Port<'_, M, N>,
    asked: &mut Asked<'_, M>,
) -> Result<Wish, Failure> {
    let dialled = with_deadline(session.due(), dial.dial());
    let mut stream = match select(dialled, port.order()).await {
        Either::First(Ok(stream)) => stream.map_err(Failure::Unreachable)?,
        Either::First(Err(_)) => return Err(SILENT),
        Either::Second(wish) => return Ok(wish),
    };
    loop {
        match session.hear(port.is_handled(), Instant::now())? {
            Heard::Message(place) => {
                // What the agent cannot read it is told of; it is acknowledged all the same, or it would come for ever.
                let _ = port.deliver(session.wire.part(place)).await;
            }
            Heard::Piece(place) => {
                // An answer to no question is old news of a question that was given up.
                if let Ok(answer) = chunk::decode::<Answer<'_>>(session.wire.part(place))
                    && asked.answer(&answer)
                {
                    session.deadlines.answered();
                }
            }
            Heard::Declined => {
                session.deadlines.answered();
                asked.fail(Failure::Declined);
            }
            Heard::Nothing => {}
        }
        let turn = port.turn(session.has_room(), session.has_news());
        let may_ask = session.may_ask();
        let question = async {
            match may_ask {
                true => asked.question().await,
                false => pending().await,
            }
        };
        let due = session.due();
        let timer = async {
            match due {
                NEVER => pending().await,
                due => Timer::at(due).await,
            }
        };
        // Orders first: a broker that never stops talking does not keep them from being heard.
        let step = session.wire.step(&mut stream);
        match select4(turn, step, question, timer).await {
            Either4::First(Turn::Order(wish)) => return Ok(wish),
            Either4::First(Turn::Message(message)) => session.carry(&message, Instant::now()),
            Either4::First(Turn::Handled) => {
                session.handled(Instant::now())?;
                if let Some(resumed) = session.news.up.take() {
                    port.up(resumed).await;
                } else if let Some(outcome) = session.news.outcome.take() {
                    match outcome {
                        Ok(()) => port.sent().await,
                        Err(failure) => port.unsent(failure).await,
                    }
                }
            }
            Either4::Second(done) => done?,
            Either4::Third(request) => {
                if let Err(failure) = session.ask(&request, Instant::now()) {
                    asked.fail(failure);
                }
            }
            Either4::Fourth(()) => {
                if session.overdue(Instant::now())? {
                    asked.fail(SILENT);
                }
            }
        }
    }
}
