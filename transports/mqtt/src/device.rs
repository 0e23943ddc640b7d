//! The microcontroller's half: minimq over any byte stream.
//!
//! While the agent handles a message nothing is read and nothing acknowledged, so the agent must come back within the keep-alive.

mod connection;
mod failure;
mod stream;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, with_timeout};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::chunk::Asked;
use lightship_link::limits::{SESSION_EXPIRY_S, UP_BYTES};
use lightship_link::mailbox::{End, Port, Wish};
use lightship_link::{Credentials, Failure, Secret, Unreachable};
use minimq::{Buffers, ConfigBuilder, Io, QoS, Session, Will};

use crate::limits::PACKET_OVERHEAD;
use crate::topics;
use connection::Connection;
use stream::{Overheard, Stream};

/// Memory that outgoing packets take until they are acknowledged: a message, a question, subscriptions, presence.
pub const TX_BYTES: usize = UP_BYTES + 3 * PACKET_OVERHEAD;
/// Memory for the longest packet that the protocol allows; a device may have less, and then gets shorter messages only.
pub const RX_BYTES: usize = MESSAGE_BYTES + PACKET_OVERHEAD;

/// Opens byte streams to the broker.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, so neither is Send"
)]
pub trait Dial {
    /// A connection. Reads and writes may be dropped.
    type Stream<'s>: Io
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
        let name = credentials.uuid.to_text();
        let password = topics::password(&credentials.secret);
        let presence = topics::topic(credentials.uuid, "presence");
        // minimq takes no will delay: here a short gap is told as an absence.
        let will = Will::new(&presence, &[0], &[]).expect("a presence topic is short");
        let will = will.retained().qos(QoS::AtLeastOnce);
        let config = ConfigBuilder::new(Buffers::new(self.rx, self.tx))
            .client_id(&name)
            .and_then(|config| config.auth(&name, password.as_bytes()))
            .expect("a uuid is a short name, and this is the only one");
        let config = match credentials.secret {
            Secret::Api(_) => config.will(will).expect("this is the only one"),
            Secret::Provisioning(_) => config,
        };
        let config = config
            .keepalive_interval(self.patience.keep_alive_s)
            .session_expiry_interval(SESSION_EXPIRY_S);
        let mut session = Session::new(config);
        let (dial, patience) = (&mut self.dial, self.patience);
        let (port, asked) = (&mut self.port, &mut self.asked);
        serve(&mut session, dial, patience, credentials, port, asked).await
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

/// Greets the broker and carries messages.
async fn serve<D: Dial, M: RawMutex, const N: usize>(
    session: &mut Session<'_>,
    dial: &mut D,
    patience: Patience,
    credentials: &Credentials,
    port: &mut Port<'_, M, N>,
    asked: &mut Asked<'_, M>,
) -> End {
    let silent = Failure::Unreachable(Unreachable::Silent);
    let overheard = Overheard::new();
    let greeting = async {
        let stream = dial.dial().await.map_err(Failure::Unreachable)?;
        let stream = Stream::new(stream, &overheard, session.max_rx_packet_size());
        let greeted = session.connect(stream).await;
        greeted.map_err(|error| overheard.explain(failure::of(&error)))
    };
    let greeting = with_timeout(patience.timeout, greeting);
    let mqtt = match select(greeting, port.order()).await {
        Either::First(Ok(Ok(mqtt))) => mqtt,
        Either::First(Ok(Err(failure))) => return End::Failed(failure),
        Either::First(Err(_)) => return End::Failed(silent),
        Either::Second(wish) => return End::Ordered(wish),
    };
    let mut connection = Connection::new(mqtt, credentials, patience.timeout);
    let end = match connection.carry(port, asked).await {
        End::Failed(failure) => End::Failed(overheard.explain(failure)),
        End::Ordered(wish) => End::Ordered(wish),
    };
    let failure = match &end {
        End::Failed(failure) => *failure,
        End::Ordered(_) => Failure::Closed,
    };
    asked.fail(failure);
    if connection.has_message_under_way() {
        port.unsent(failure).await;
    }
    end
}

impl<D, M: RawMutex, const N: usize> core::fmt::Debug for Runner<'_, D, M, N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}
