//! A board's end of the tunnel to the hub.
//!
//! One [`Tunnel`], whatever the machine can do; [`Backend`] lists the ways.
//! [`Tunnel::dial`] and [`Tunnel::listen`] work alike on all of them.

mod clock;
mod in_process;
mod listener;
mod system;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

pub use self::clock::HandshakeClock;
use self::in_process::InProcess;
pub use self::listener::TunnelListener;
use self::system::System;
pub use crate::Stream as TunnelStream;
use crate::Stream;
use crate::engine::{UnusableKey, engine};
use crate::life::Life;
pub use crate::link::{KeepAlive, KeySet, LinkNote};
use crate::stack::{Buffers, is_host};

/// Who carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's WireGuard: the fastest; needs root and the module.
    Kernel,
    /// A user-space tunnel in this process on a TUN device: needs root and `/dev/net/tun`.
    Tun,
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
    /// Datagrams that were malformed, forged or replayed; of an interface the malformed ones, and with the kernel's the packets that came out of the tunnel and were not the hub's.
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
    /// No interface.
    #[error("no {backend:?} tunnel on this machine")]
    Interface {
        /// The back end that was tried last.
        backend: Backend,
        /// What the operating system said.
        source: io::Error,
    },
    /// An address inside the tunnel is no host's.
    #[error("{0} cannot be a host's address inside the tunnel")]
    UnusableAddress(Ipv4Addr),
    /// The list of back ends is empty.
    #[error("no back end was allowed")]
    NoBackend,
}

/// A running tunnel; clones are handles of the same one, which ends when the last is dropped.
#[derive(Clone)]
pub struct Tunnel {
    carrier: Carrier,
}

#[derive(Clone)]
enum Carrier {
    InProcess(Arc<InProcess>),
    System(Arc<System>, Backend),
}

impl Tunnel {
    /// Opens a tunnel with the best back end that this machine allows, and connects. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the keys are unusable, or not even a socket can be had.
    pub async fn open(config: TunnelConfig) -> Result<Self, TunnelError> {
        Self::open_with(config, &[Backend::Kernel, Backend::Tun, Backend::InProcess]).await
    }

    /// Opens a tunnel with the first of these back ends that this machine allows.
    ///
    /// # Errors
    /// When the keys are unusable; otherwise what the last back end lacked.
    pub async fn open_with(
        config: TunnelConfig,
        backends: &[Backend],
    ) -> Result<Self, TunnelError> {
        Self::open_at(config, backends, None).await
    }

    /// The same with handshake times of this clock; kernel and TUN use the system's all the same, so leave them out while [`HandshakeClock::is_system_behind`].
    ///
    /// # Errors
    /// When the keys are unusable; otherwise what the last back end lacked.
    pub async fn open_at(
        config: TunnelConfig,
        backends: &[Backend],
        clock: Option<HandshakeClock>,
    ) -> Result<Self, TunnelError> {
        for keys in std::iter::once(&config.keys).chain(&config.pending) {
            engine(&keys.secret, &keys.hub, &keys.preshared)?;
        }
        for address in [config.address, config.hub_address] {
            if !is_host(address) {
                return Err(TunnelError::UnusableAddress(address));
            }
        }
        let mut refused = TunnelError::NoBackend;
        for backend in backends {
            let opened = match backend {
                Backend::InProcess => InProcess::open(config.clone(), clock.clone())
                    .map(|tunnel| Carrier::InProcess(Arc::new(tunnel))),
                Backend::Kernel | Backend::Tun => System::open(&config, *backend)
                    .await
                    .map(|tunnel| Carrier::System(Arc::new(tunnel), *backend))
                    .map_err(|source| TunnelError::Interface {
                        backend: *backend,
                        source,
                    }),
            };
            match opened {
                Ok(carrier) => return Ok(Self { carrier }),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Who carries the packets.
    pub fn backend(&self) -> Backend {
        match &self.carrier {
            Carrier::InProcess(_) => Backend::InProcess,
            Carrier::System(_, backend) => *backend,
        }
    }

    /// The name of the network interface, where there is one.
    pub fn interface(&self) -> Option<String> {
        match &self.carrier {
            Carrier::InProcess(_) => None,
            Carrier::System(tunnel, _) => Some(tunnel.interface()),
        }
    }

    /// Connects to a port of the hub. Waits for the hub if it does not answer, so give it a time limit.
    ///
    /// The buffers are those of the stack inside the process; the operating system chooses its own.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] when nobody listens there, [`io::ErrorKind::QuotaExceeded`] with too many connections open.
    pub async fn dial(&self, port: u16, buffers: Buffers) -> io::Result<Stream> {
        match &self.carrier {
            Carrier::InProcess(tunnel) => tunnel.dial(port, buffers).await.map(Stream::of_stack),
            Carrier::System(tunnel, _) => {
                let stream = tunnel.dial(port).await?;
                Ok(Stream::of_system(stream, Life::default()))
            }
        }
    }

    /// Accepts connections of the hub, and of nobody else, to a port of this device.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when the port has a listener.
    pub async fn listen(&self, port: u16, buffers: Buffers) -> io::Result<TunnelListener> {
        match &self.carrier {
            Carrier::InProcess(tunnel) => {
                tunnel.listen(port, buffers).map(TunnelListener::in_process)
            }
            Carrier::System(tunnel, _) => tunnel.listen(port).await.map(TunnelListener::system),
        }
    }

    /// Changes to other keys while running: store them as pending and announce them to the hub first.
    ///
    /// [`LinkNote::KeysConfirmed`] tells when they are in force; until then the old ones still work.
    pub fn offer_keys(&self, keys: KeySet) -> Result<(), UnusableKey> {
        match &self.carrier {
            Carrier::InProcess(tunnel) => tunnel.offer_keys(keys),
            Carrier::System(tunnel, _) => tunnel.offer_keys(keys),
        }
    }

    /// The hub's UDP address has changed.
    pub fn move_hub(&self, hub: SocketAddr) {
        match &self.carrier {
            Carrier::InProcess(tunnel) => tunnel.move_hub(hub),
            Carrier::System(tunnel, _) => tunnel.move_hub(hub),
        }
    }

    /// This device is in another network.
    pub fn network_changed(&self) {
        match &self.carrier {
            Carrier::InProcess(tunnel) => tunnel.network_changed(),
            Carrier::System(tunnel, _) => tunnel.network_changed(),
        }
    }

    /// What is known of the tunnel.
    pub fn stats(&self) -> TunnelStats {
        match &self.carrier {
            Carrier::InProcess(tunnel) => tunnel.stats(),
            Carrier::System(tunnel, _) => tunnel.stats(),
        }
    }

    /// What happens from now on.
    pub fn notes(&self) -> broadcast::Receiver<LinkNote> {
        match &self.carrier {
            Carrier::InProcess(tunnel) => tunnel.notes(),
            Carrier::System(tunnel, _) => tunnel.notes(),
        }
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tunnel({:?})", self.backend())
    }
}
