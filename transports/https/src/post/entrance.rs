//! A connection that only registers, for the runner of a transport that carries everything else.

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, with_timeout};
use lightship_core::wire::{self, Down, Up};
use lightship_link::chunk::Asked;
use lightship_link::mailbox::{End, Port, Work};
use lightship_link::{Failure, Unreachable};

use super::{Dial, Post};

const SILENT: Failure = Failure::Unreachable(Unreachable::Silent);

/// Where devices register.
#[derive(Debug)]
pub struct Entrance<D> {
    dial: D,
    host: &'static str,
    timeout: Duration,
}

impl<D: Dial> Entrance<D> {
    /// A fleet by the value of `Host`; each answer may take `timeout`, and a connection to come about.
    pub const fn new(dial: D, host: &'static str, timeout: Duration) -> Self {
        Self {
            dial,
            host,
            timeout,
        }
    }

    /// Serves a connection with a provisioning key, from its first byte to its end.
    ///
    /// `memory` takes a registration in one half and the answer in the other: twice 512 bytes are enough.
    pub async fn serve<M: RawMutex, const N: usize>(
        &self,
        port: &mut Port<'_, M, N>,
        asked: &mut Asked<'_, M>,
        memory: &mut [u8],
    ) -> End {
        let (body, answer) = memory.split_at_mut(memory.len() / 2);
        let mut open = None;
        // Length of the registration under way. At first there is none: that a fleet is there the stream says.
        let mut len = 0;
        loop {
            let asking = with_timeout(self.timeout, self.ask(&mut open, &body[..len], answer));
            let outcome = match select3(asking, port.order(), asked.refuse()).await {
                Either3::First(outcome) => outcome.unwrap_or(Err(SILENT)),
                Either3::Second(wish) => {
                    if len > 0 {
                        port.unsent(Failure::Closed).await;
                    }
                    return End::Ordered(wish);
                }
                Either3::Third(never) => never,
            };
            match outcome {
                Ok(_) if len == 0 => port.up(false).await,
                Ok(len) => {
                    port.sent().await;
                    // What the agent cannot read it is told of; there is nothing to do here.
                    let _ = port.deliver(&answer[..len]).await;
                }
                Err(failure) if len == 0 => return End::Failed(failure),
                Err(failure) => {
                    port.unsent(failure).await;
                    let is_of_the_message = matches!(
                        failure,
                        Failure::Declined | Failure::TooLarge | Failure::Busy { .. }
                    );
                    if !is_of_the_message {
                        return End::Failed(failure);
                    }
                }
            }
            len = loop {
                let failure = match select(port.work(), asked.refuse()).await {
                    Either::First(Work::Message(message @ Up::Register(_))) => {
                        match wire::encode(&message, body) {
                            Ok(bytes) => break bytes.len(),
                            Err(_) => Failure::TooLarge,
                        }
                    }
                    Either::First(Work::Message(_)) => Failure::Declined,
                    Either::First(Work::Order(wish)) => return End::Ordered(wish),
                    Either::Second(never) => never,
                };
                port.unsent(failure).await;
            };
        }
    }

    /// Opens a stream if none is open, and if there is a registration, sends it and returns the length of what was said to it.
    async fn ask<'s>(
        &'s self,
        open: &mut Option<D::Stream<'s>>,
        body: &[u8],
        into: &mut [u8],
    ) -> Result<usize, Failure> {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => self.dial.dial().await.map_err(Failure::Unreachable)?,
        };
        if body.is_empty() {
            *open = Some(stream);
            return Ok(0);
        }
        let post = Post::registration(self.host);
        let answer = post.send(&mut stream, body, into).await?;
        let is_refusal = matches!(answer.status, 403 | 409 | 429)
            && matches!(wire::decode_down(&into[..answer.len]), Ok(Down::Refused(_)));
        match answer.is_good() || is_refusal {
            true => Ok(answer.len),
            false => Err(answer.failure()),
        }
    }
}
