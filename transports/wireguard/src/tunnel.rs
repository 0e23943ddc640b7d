//! A board's end of the tunnel to the hub.
//!
//! One [`Tunnel`], whatever the machine can do; [`Backend`] lists the ways.
//! [`Tunnel::dial`] and [`Tunnel::listen`] work alike on all of them.

mod in_process;
mod stream;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use self::in_process::InProcess;
pub use self::stream::{TunnelListener, TunnelStream};
use crate::engine::UnusableKey;
pub use crate::link::{KeepAlive, KeySet, LinkNote};
use crate::stack::Buffers;

/// Who carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A TCP/IP stack inside this process: needs no right at all, and only this process can use the tunnel.
    InProcess,
}

/// What a tunnel needs to start.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// The keys in force.
    pub keys: KeySet,
    /// The keys that a rotation stored and that were not confirmed yet.
    pub pending: Option<KeySet>,
    /// The hub's UDP address.
    pub hub: SocketAddr,
    /// The hub's address inside the tunnel.
    pub hub_address: Ipv4Addr,
    /// This device's address inside the tunnel.
    pub address: Ipv4Addr,
    /// How the mapping in a NAT is held open.
    pub keep_alive: KeepAlive,
}

/// What is known of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelStats {
    /// Where the hub's last authenticated packet came from, or where it is believed to be.
    pub hub: SocketAddr,
    /// How long ago the last handshake was completed.
    pub last_handshake: Option<Duration>,
    /// Bytes of inner packets received.
    pub received: u64,
    /// Bytes of inner packets sent.
    pub sent: u64,
    /// Datagrams that were malformed, forged or replayed.
    pub dropped: u64,
    /// Seconds between keep-alives; zero when there are none.
    pub keep_alive_s: u16,
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// The keys can never work.
    #[error(transparent)]
    Key(#[from] UnusableKey),
    /// No UDP socket.
    #[error("cannot open a udp socket")]
    Socket(#[source] io::Error),
}

/// A running tunnel; clones are handles of the same one, which ends when the last is dropped.
#[derive(Clone)]
pub struct Tunnel {
    inner: Arc<InProcess>,
}

impl Tunnel {
    /// Opens a tunnel with the best back end that this machine allows, and connects. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the keys are unusable, or not even a socket can be had.
    pub async fn open(config: TunnelConfig) -> Result<Self, TunnelError> {
        Ok(Self {
            inner: Arc::new(InProcess::open(config)?),
        })
    }

    /// Who carries the packets.
    pub fn backend(&self) -> Backend {
        Backend::InProcess
    }

    /// Connects to a port of the hub. Waits for the hub if it does not answer, so give it a time limit.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] when nobody listens there, [`io::ErrorKind::QuotaExceeded`] with too many connections open.
    pub async fn dial(&self, port: u16, buffers: Buffers) -> io::Result<TunnelStream> {
        self.inner
            .dial(port, buffers)
            .await
            .map(TunnelStream::in_process)
    }

    /// Accepts connections of the hub to a port of this device.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when the port has a listener.
    pub async fn listen(&self, port: u16, buffers: Buffers) -> io::Result<TunnelListener> {
        self.inner
            .listen(port, buffers)
            .map(TunnelListener::in_process)
    }

    /// Changes to other keys while running: store them as pending and announce them to the hub first.
    ///
    /// [`LinkNote::KeysConfirmed`] tells when they are in force; until then the old ones still work.
    pub fn offer_keys(&self, keys: KeySet) -> Result<(), UnusableKey> {
        self.inner.offer_keys(keys)
    }

    /// The hub's UDP address has changed.
    pub fn move_hub(&self, hub: SocketAddr) {
        self.inner.move_hub(hub);
    }

    /// This device is in another network.
    pub fn network_changed(&self) {
        self.inner.network_changed();
    }

    /// What is known of the tunnel.
    pub fn stats(&self) -> TunnelStats {
        self.inner.stats()
    }

    /// What happens from now on.
    pub fn notes(&self) -> broadcast::Receiver<LinkNote> {
        self.inner.notes()
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tunnel({:?})", self.backend())
    }
}
