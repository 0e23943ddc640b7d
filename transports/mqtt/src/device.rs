//! The microcontroller's half: a client of its own for MQTT 5 (OASIS, 2019) over any byte stream, with what a device needs of it and nothing else.
//!
//! A codec without state (`draft` writes, `packet` reads), the bytes on their way (`wire`), what is said and understood (`session`), and one place that waits (`connection`).

mod connection;
mod deadlines;
mod draft;
mod failure;
#[cfg(test)]
#[cfg(feature = "std")]
mod interop;
mod packet;
mod session;
#[cfg(test)]
mod tape;
mod wire;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Instant};
use embedded_io_async::{Read, Write};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::chunk::Asked;
use lightship_link::limits::UP_BYTES;
use lightship_link::mailbox::{End, Port, Wish};
use lightship_link::{Credentials, Failure, Unreachable};

use crate::limits::PACKET_OVERHEAD;
use session::Session;
use wire::Wire;

/// Memory that outgoing packets take until they are written: a message, or all that is said at the start.
pub const TX_BYTES: usize = UP_BYTES + PACKET_OVERHEAD;
/// Memory for the longest packet that the protocol allows; a device may have less, and then gets shorter messages only.
pub const RX_BYTES: usize = MESSAGE_BYTES + PACKET_OVERHEAD;

/// Opens byte streams to the broker.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, so neither is Send"
)]
pub trait Dial {
    /// A connection. Reads and writes may be dropped.
    type Stream<'s>: Read + Write
    where
        Self: 's;

    /// Opens one.
    ///
    /// # Errors
    ///
    /// Why there is none.
    async fn dial(&mut self) -> Result<Self::Stream<'_>, Unreachable>;
}

/// How patient to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Seconds between signs of life; [`keep_alive_s`](crate::keep_alive_s) finds them for a budget.
    pub keep_alive_s: u16,
    /// How long the broker may take to answer anything.
    pub timeout: Duration,
}

/// Connects when it is told to and carries messages until the connection fails. Poll it beside the agent.
pub struct Runner<'a, D, M: RawMutex, const N: usize = MESSAGE_BYTES> {
    dial: D,
    patience: Patience,
    port: Port<'a, M, N>,
    asked: Asked<'a, M>,
    rx: &'a mut [u8],
    tx: &'a mut [u8],
    last_id: u16,
}

impl<'a, D: Dial, M: RawMutex, const N: usize> Runner<'a, D, M, N> {
    /// A runner with memory for packets: [`RX_BYTES`] and [`TX_BYTES`], or less.
    pub fn new(
        dial: D,
        patience: Patience,
        (port, asked): (Port<'a, M, N>, Asked<'a, M>),
        (rx, tx): (&'a mut [u8], &'a mut [u8]),
    ) -> Self {
        Self {
            dial,
            patience,
            port,
            asked,
            rx,
            tx,
            last_id: 0,
        }
    }

    /// Runs for ever.
    pub async fn run(&mut self) -> ! {
        let mut ended = None;
        loop {
            let credentials = self.wanted(ended.take()).await;
            ended = Some(self.serve(&credentials).await);
        }
    }

    /// Says how the last connection ended and waits until one is wanted.
    ///
    /// [`run`](Self::run) is this and [`serve`](Self::serve) in turn; who serves some connections in another way does the same with [`lend`](Self::lend).
    pub async fn wanted(&mut self, ended: Option<End>) -> Credentials {
        match ended {
            Some(End::Ordered(Wish::Connect(credentials, _))) => return credentials,
            Some(End::Ordered(Wish::Disconnect)) => self.port.down(Failure::Closed).await,
            Some(End::Failed(failure)) => self.port.down(failure).await,
            None => {}
        }
        idle(&mut self.port, &mut self.asked).await
    }

    /// The agent's mailbox, its questions for blobs, and memory that is free between two connections.
    pub fn lend(&mut self) -> (&mut Port<'a, M, N>, &mut Asked<'a, M>, &mut [u8]) {
        (&mut self.port, &mut self.asked, self.rx)
    }

    /// One connection, from its first packet to its end.
    ///
    /// It begins with nothing under way: what an earlier connection left unacknowledged was told to its sender, and would fill the memory for packets if connections broke one after the other.
    pub async fn serve(&mut self, credentials: &Credentials) -> End {
        let wire = Wire::new(self.rx, self.tx);
        let (id, now) = (&mut self.last_id, Instant::now());
        let mut session = match Session::new(credentials, self.patience, wire, id, now) {
            Ok(session) => session,
            Err(failure) => return End::Failed(failure),
        };
        let (dial, port, asked) = (&mut self.dial, &mut self.port, &mut self.asked);
        let ended = connection::serve(dial, &mut session, port, asked).await;
        let failure = ended.as_ref().err().copied().unwrap_or(Failure::Closed);
        self.asked.fail(failure);
        if session.has_message_under_way() {
            self.port.unsent(failure).await;
        }
        match ended {
            Ok(wish) => End::Ordered(wish),
            Err(failure) => End::Failed(failure),
        }
    }
}

async fn idle<M: RawMutex, const N: usize>(
    port: &mut Port<'_, M, N>,
    asked: &mut Asked<'_, M>,
) -> Credentials {
    match select(port.idle(), asked.refuse()).await {
        Either::First((wanted, _)) => wanted,
        Either::Second(never) => never,
    }
}

impl<D, M: RawMutex, const N: usize> core::fmt::Debug for Runner<'_, D, M, N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}
