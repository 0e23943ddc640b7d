//! Asks the hub for echoes and sets the interface's keep-alive to what [`Learning`] makes of them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::learning::{Learning, Look};
use super::{LOOK, SELDOM, Shared};
use crate::engine::Ticks;
use crate::keepalive::Probe;
use crate::limits::ECHO_PORT;
use crate::ping::Ping;

/// How long the hub may take to accept a question.
const DIAL: Duration = Duration::from_secs(5);

/// How a question ended.
enum End {
    Echo,
    Look(Look),
    /// The keys or the network have changed, or the connection broke.
    Broken,
    /// Nobody answers there.
    Mute,
}

impl Shared {
    pub(super) fn learning(&self) -> MutexGuard<'_, Learning> {
        self.learning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticks(&self) -> Ticks {
        let nanos = self.started.elapsed().as_nanos();
        Ticks::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// What was learned is of another network.
    pub(super) fn forget_network(&self) {
        let now = self.ticks();
        self.learning().moved(now);
    }

    /// Learns until the tunnel ends.
    pub(super) async fn learn(self: Arc<Self>, mut gone: mpsc::Receiver<()>) {
        tokio::select! {
            () = self.learn_on() => {}
            _ = gone.recv() => {}
        }
    }

    async fn learn_on(&self) {
        loop {
            let wake = self.learning().wake();
            let left = Duration::from_nanos(wake.since(self.ticks()));
            // Looked at again now and then, as another network makes it earlier.
            sleep(left.clamp(LOOK, SELDOM)).await;
            if !left.is_zero() || !self.lock().settled() {
                continue;
            }
            let mut nonce = [0; 4];
            crate::entropy::fill(&mut nonce);
            let now = self.ticks();
            let probe = self.learning().start(now, u32::from_le_bytes(nonce));
            match probe {
                Some(probe) => self.probe(probe).await,
                // What was known is not believed any more.
                None => self.hold().await,
            }
        }
    }

    async fn probe(&self, probe: Probe) {
        let applied = self.lock().times_applied;
        let end = match self.silence(probe, applied).await {
            Ok(end) => end,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => End::Mute,
            Err(_) => End::Broken,
        };
        let now = self.ticks();
        match end {
            End::Echo => self.learning().echoed(now, probe.nonce),
            End::Mute => self.learning().mute(now),
            End::Broken => self.learning().disturb(now),
            End::Look(_) => {}
        }
        self.hold().await;
        if matches!(end, End::Look(Look::Overdue)) {
            self.knock();
        }
    }

    /// Sets the interface's keep-alive to what is known. A failure is that of an interface that is gone.
    async fn hold(&self) {
        let (hub, seconds) = (self.lock().keys().hub, self.learning().interval_s());
        let _ = self.interface.keep_alive(hub, seconds).await;
    }

    /// Asks, and watches the silence.
    async fn silence(&self, probe: Probe, applied: u64) -> io::Result<End> {
        let mut stream = timeout(DIAL, self.connect(ECHO_PORT)).await??;
        let Probe { after_s, nonce } = probe;
        stream
            .write_all(&Ping::Probe { after_s, nonce }.encode())
            .await?;
        let hub = self.lock().keys().hub;
        self.interface.keep_alive(hub, 0).await?;
        let mut answer = [0; 5];
        let echo = async {
            stream.read_exact(&mut answer).await?;
            Ok(match Ping::decode(&answer) {
                Some(Ping::Echo { nonce: echoed }) if echoed == nonce => End::Echo,
                _ => End::Mute,
            })
        };
        tokio::select! {
            echo = echo => echo,
            end = self.watch_silence(applied) => Ok(end),
        }
    }

    async fn watch_silence(&self, applied: u64) -> End {
        loop {
            sleep(LOOK).await;
            let Ok(passed) = self.passed().await else {
                return End::Broken;
            };
            if self.lock().times_applied != applied {
                return End::Broken;
            }
            let now = self.ticks();
            match self.learning().look(now, passed) {
                Look::On => {}
                end @ (Look::Disturbed | Look::Overdue) => return End::Look(end),
            }
        }
    }

    /// Bytes that have passed through the interface either way.
    async fn passed(&self) -> io::Result<u64> {
        let interface = Arc::clone(&self.interface);
        let seen = super::blocking(move || Ok(interface.peer())).await?;
        let stats = seen.ok_or(io::ErrorKind::NotFound)?.stats;
        Ok(stats.rx_bytes + stats.tx_bytes)
    }

    pub(super) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind_device(Some(self.interface.name.as_str_lossy().as_bytes()))?;
        socket.bind((self.address, 0).into())?;
        let hub = SocketAddr::from((self.hub_address, port));
        let stream = socket.connect(hub).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
