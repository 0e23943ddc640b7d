//! The shore's end: one process that terminates the tunnel of every device, without root, TUN or kernel module.
//!
//! Each device gets a small TCP/IP stack of its own inside this process.
//! The hub can [`dial`](Hub::dial) a device, devices reach the ports that the hub [listens](Hub::listen) on, and that is all there is: no device reaches another device or a network.
//!
//! A [`Hub`] is a handle; clones of it speak to the same hub, which runs until the last one is dropped.

mod accepted;
mod anonymous;
mod counters;
mod enrolment;
mod exchange;
mod guard;
mod locals;
mod note;
mod path;
mod peer;
mod shared;
#[cfg(test)]
mod simulation;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};

pub use self::counters::Counters;
pub use self::exchange::PeerError;
use self::locals::Purpose;
pub use self::note::Note;
use self::shared::Shared;
use crate::keys::{PresharedKey, PublicKey, SecretKey};
use crate::stack::{Buffers, Stream, is_host};

/// Which of the hub's UDP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Door {
    Fleet,
    Enrolment,
}

/// Where datagrams go.
pub(crate) trait Outlet {
    fn send(&mut self, door: Door, to: SocketAddr, datagram: &[u8]);
}

/// What a hub needs to start.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The hub's key; more can be [added](Hub::add_key) to rotate it.
    pub secret: SecretKey,
    /// The UDP address for devices that are registered. `[::]` takes IPv4 too.
    pub listen: SocketAddr,
    /// The UDP address for devices that enrol; `None` if none do.
    pub enrolment: Option<SocketAddr>,
    /// The hub's own address inside every tunnel.
    pub address: Ipv4Addr,
    /// The address that a device has inside its enrolment tunnel; all have the same, and do not see each other.
    pub guest_address: Ipv4Addr,
}

/// A device that may connect.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address inside the tunnel: its name, here.
    pub address: Ipv4Addr,
    /// Its public key.
    pub key: PublicKey,
    /// The pre-shared key; the default is none.
    pub preshared: PresharedKey,
}

/// What is known of a device's tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStats {
    /// Its address inside the tunnel.
    pub address: Ipv4Addr,
    /// The key it uses.
    pub key: PublicKey,
    /// The key it was offered and has not used yet.
    pub offered_key: Option<PublicKey>,
    /// The hub key it used last.
    pub hub_key: Option<PublicKey>,
    /// Where its last authenticated packet came from.
    pub endpoint: Option<SocketAddr>,
    /// How long ago the last handshake was completed.
    pub last_handshake: Option<Duration>,
    /// Bytes of inner packets that came from it.
    pub received: u64,
    /// Bytes of inner packets that went to it.
    pub sent: u64,
}

/// Why the hub cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A UDP port could not be opened.
    #[error("cannot listen on udp {address}")]
    Listen {
        /// The address in question.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The port has a listener already.
    #[error("tunnel port {0} has a listener already")]
    PortTaken(u16),
    /// [`limits::HUB_KEYS`](crate::limits::HUB_KEYS) are in use.
    #[error("the hub has as many keys as it can hold")]
    TooManyKeys,
    /// An address inside the tunnel is no host's.
    #[error("{0} cannot be a host's address inside the tunnel")]
    UnusableAddress(Ipv4Addr),
    /// There is no enrolment port.
    #[error("the hub was started without an enrolment port")]
    NoEnrolment,
}

/// A running hub.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
    /// Ends the hub's task when the last handle goes.
    _alive: Arc<mpsc::Sender<()>>,
}

impl Hub {
    /// Opens the ports and serves them from now on. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`HubError::Listen`] if a port cannot be opened, [`HubError::UnusableAddress`] for an address that no host can have.
    pub async fn start(config: HubConfig) -> Result<Self, HubError> {
        for address in [config.address, config.guest_address] {
            if !is_host(address) {
                return Err(HubError::UnusableAddress(address));
            }
        }
        let shared = Shared::open(&config)?;
        shared.exchange().locals.add(config.secret, Purpose::Fleet);
        let (alive, gone) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&shared).run(gone));
        Ok(Self {
            shared,
            _alive: Arc::new(alive),
        })
    }

    /// The UDP address that devices connect to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared.local_address(Door::Fleet)
    }

    /// The UDP address that devices enrol at.
    pub fn enrolment_address(&self) -> io::Result<SocketAddr> {
        self.shared.local_address(Door::Enrolment)
    }

    /// Lets a device in. Nobody else notices.
    pub fn add(&self, peer: Peer) -> Result<(), PeerError> {
        self.shared
            .exchange()
            .add(peer.address, peer.key, peer.preshared)
    }

    /// Shuts a device out; its connections are reset. Nobody else notices.
    pub fn remove(&self, address: Ipv4Addr) -> Result<(), PeerError> {
        self.shared.exchange().remove(address)
    }

    /// Accepts a new key of a device beside the one in use. Its first use retires the old one ([`Note::DeviceKeyRetired`]).
    pub fn offer_key(&self, address: Ipv4Addr, key: PublicKey) -> Result<(), PeerError> {
        self.shared.exchange().offer_key(address, key)
    }

    /// Accepts a new pre-shared key of a device beside the one in use. Its first use retires the old one ([`Note::PresharedKeyRetired`]).
    pub fn offer_preshared(
        &self,
        address: Ipv4Addr,
        preshared: PresharedKey,
    ) -> Result<(), PeerError> {
        self.shared.exchange().offer_preshared(address, preshared)
    }

    /// Answers to one more hub key, so that devices can move to it one by one; [`PeerStats::hub_key`] tells which have.
    pub fn add_key(&self, secret: SecretKey) -> Result<(), HubError> {
        if self.shared.exchange().locals.add(secret, Purpose::Fleet) {
            Ok(())
        } else {
            Err(HubError::TooManyKeys)
        }
    }

    /// Stops answering to a hub key, be it the fleet's or a provisioning key's. Returns whether there was one.
    pub fn retire_key(&self, key: &PublicKey) -> bool {
        self.shared.exchange().retire_hub_key(key)
    }

    /// The hub keys that devices may use.
    pub fn keys(&self) -> Vec<PublicKey> {
        self.shared.exchange().locals.fleet().collect()
    }

    /// Lets anyone enrol who holds the provisioning key that `preshared` comes from (see [`enrolment`](crate::enrolment)); `secret` is the hub's key pair for that provisioning key.
    ///
    /// [`Self::retire_key`] with its public half revokes it, and sends away who is enrolling with it.
    pub fn open_enrolment(
        &self,
        secret: SecretKey,
        preshared: PresharedKey,
    ) -> Result<(), HubError> {
        if !self.shared.has_enrolment() {
            return Err(HubError::NoEnrolment);
        }
        let added = self
            .shared
            .exchange()
            .locals
            .add(secret, Purpose::Enrolment(preshared));
        if added {
            Ok(())
        } else {
            Err(HubError::TooManyKeys)
        }
    }

    /// Accepts connections of devices to a port of the hub.
    pub fn listen(&self, port: u16, buffers: Buffers) -> Result<Listener, HubError> {
        self.shared.listen(port, buffers).map(Listener)
    }

    /// Accepts connections of guests, which reach this port and no other.
    pub fn listen_for_guests(
        &self,
        port: u16,
        buffers: Buffers,
    ) -> Result<GuestListener, HubError> {
        self.shared
            .listen_for_guests(port, buffers)
            .map(GuestListener)
    }

    /// Connects to a port of a device. Waits for the device if it is not there, so give it a time limit.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for an unknown device, [`io::ErrorKind::ConnectionRefused`] when the device has nobody on that port, [`io::ErrorKind::QuotaExceeded`] with too many connections open.
    pub async fn dial(&self, device: Ipv4Addr, port: u16, buffers: Buffers) -> io::Result<Stream> {
        let stream = self.shared.connect(device, port, buffers)?;
        stream.connected().await?;
        Ok(stream)
    }

    /// What is known of one device's tunnel.
    pub fn peer(&self, address: Ipv4Addr) -> Option<PeerStats> {
        self.shared.stats(address)
    }

    /// What is known of every device's tunnel.
    pub fn peers(&self) -> Vec<PeerStats> {
        self.shared.all_stats()
    }

    /// What was dropped, and why.
    pub fn counters(&self) -> Counters {
        self.shared.exchange().counters
    }

    /// What happens from now on; the fleet stores which keys were retired.
    pub fn notes(&self) -> broadcast::Receiver<Note> {
        self.shared.notes()
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

/// Connections of devices to one port of the hub. Dropping it closes the port.
#[derive(Debug)]
pub struct Listener(shared::Acceptor<Ipv4Addr>);

impl Listener {
    /// The next connection, and the tunnel address of the device that made it: the address is proved by the device's key.
    ///
    /// `None` when the hub has stopped.
    pub async fn accept(&mut self) -> Option<(Stream, Ipv4Addr)> {
        self.0.next().await
    }
}

/// Who enrols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// The device key it came with; it holds the private half.
    pub key: PublicKey,
    /// The hub's public key for the provisioning key that it holds.
    pub hub_key: PublicKey,
}

/// Connections of guests to the registration port. Dropping it closes the port.
#[derive(Debug)]
pub struct GuestListener(shared::Acceptor<Guest>);

impl GuestListener {
    /// The next connection, and who made it. `None` when the hub has stopped.
    pub async fn accept(&mut self) -> Option<(Stream, Guest)> {
        self.0.next().await
    }
}
