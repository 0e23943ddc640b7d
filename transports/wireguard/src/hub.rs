//! The shore's end: terminates the tunnel of every device, without root, TUN or kernel module, or with them.
//!
//! [`Backend`] lists the ways; in each of them every device is alone with the hub.
//! The hub can [`dial`](Hub::dial) a device, devices reach the ports that the hub [listens](Hub::listen) on, and that is all there is: no device reaches another device or a network.
//!
//! A [`Hub`] is a handle; clones of it speak to the same hub, which runs until the last one is dropped.

mod accepted;
mod acceptor;
mod anonymous;
mod counters;
mod echo;
mod enrolment;
mod exchange;
mod guard;
mod listener;
mod locals;
mod note;
mod path;
mod peer;
mod shared;
#[cfg(test)]
mod simulation;
#[cfg(feature = "linux")]
mod system;
mod terms;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};

pub use self::counters::Counters;
pub use self::exchange::PeerError;
pub use self::listener::{Guest, GuestListener, Listener};
use self::locals::Purpose;
pub use self::note::Note;
use self::shared::{Ends, Shared};
#[cfg(feature = "linux")]
use self::system::System;
pub use self::terms::{Backend, HubConfig, HubError, Peer, PeerStats};
use crate::Stream;
use crate::keys::{PresharedKey, PublicKey, SecretKey};
use crate::limits::ECHO_PORT;
use crate::stack::{Buffers, is_host};

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

/// A running hub.
#[derive(Clone)]
pub struct Hub {
    /// Ends the tunnels of devices that enrol, and of all others unless interfaces do.
    shared: Arc<Shared>,
    #[cfg(feature = "linux")]
    system: Option<(Arc<System>, Backend)>,
    /// Ends the hub's tasks when the last handle goes.
    _alive: Arc<Alive>,
}

/// Each of the hub's tasks has the other end of one of these.
struct Alive {
    _shared: mpsc::Sender<()>,
    _echo: mpsc::Sender<()>,
    #[cfg(feature = "linux")]
    _system: Option<mpsc::Sender<()>>,
}

/// Runs a method of whoever ends the tunnels of registered devices.
macro_rules! fleet {
    ($hub:ident, $system:ident => $by_system:expr, $shared:ident => $by_shared:expr) => {{
        #[cfg(feature = "linux")]
        if let Some(($system, _)) = &$hub.system {
            return $by_system;
        }
        let $shared = &$hub.shared;
        $by_shared
    }};
}

impl Hub {
    /// Opens the ports of a hub without any right, and serves them from now on. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`HubError::Listen`] if a port cannot be opened, [`HubError::UnusableAddress`] for an address that no host can have.
    pub async fn start(config: HubConfig) -> Result<Self, HubError> {
        Self::start_with(config, &[Backend::UserSpace]).await
    }

    /// Starts a hub with the first of these back ends that this machine allows.
    ///
    /// # Errors
    /// What the last back end lacked.
    pub async fn start_with(config: HubConfig, backends: &[Backend]) -> Result<Self, HubError> {
        for address in [config.address, config.guest_address] {
            if !is_host(address) {
                return Err(HubError::UnusableAddress(address));
            }
        }
        let mut refused = HubError::NoBackend;
        for backend in backends {
            let opened = match backend {
                Backend::UserSpace => Self::user_space(&config),
                Backend::Kernel | Backend::WireguardGo => Self::interfaces(&config, *backend).await,
            };
            match opened {
                Ok(hub) => return Ok(hub),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn user_space(config: &HubConfig) -> Result<Self, HubError> {
        let shared = Shared::open(config, Ends::Every)?;
        let first = config.secret.clone();
        shared.exchange().locals.add(first, Purpose::Fleet);
        let (alive, gone) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&shared).run(gone));
        let (echo, echo_gone) = mpsc::channel(1);
        let hub = Self {
            shared,
            #[cfg(feature = "linux")]
            system: None,
            _alive: Arc::new(Alive {
                _shared: alive,
                _echo: echo,
                #[cfg(feature = "linux")]
                _system: None,
            }),
        };
        hub.answer_after_silences(echo_gone)?;
        Ok(hub)
    }

    fn answer_after_silences(&self, gone: mpsc::Receiver<()>) -> Result<(), HubError> {
        let listener = self.listen(ECHO_PORT, Buffers::SMALL)?;
        tokio::spawn(echo::serve(listener, gone));
        Ok(())
    }

    #[cfg(feature = "linux")]
    async fn interfaces(config: &HubConfig, backend: Backend) -> Result<Self, HubError> {
        let shared = Shared::open(config, Ends::Enrolment)?;
        let config = config.clone();
        let opened = tokio::task::spawn_blocking(move || System::open(&config, backend)).await;
        let system = opened.map_err(|error| HubError::Interface {
            backend,
            source: io::Error::other(error),
        })??;
        let (alive, gone) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&shared).run(gone));
        let (system_alive, gone) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&system).run(gone));
        let (echo, echo_gone) = mpsc::channel(1);
        let hub = Self {
            shared,
            system: Some((system, backend)),
            _alive: Arc::new(Alive {
                _shared: alive,
                _echo: echo,
                _system: Some(system_alive),
            }),
        };
        hub.answer_after_silences(echo_gone)?;
        Ok(hub)
    }

    #[cfg(not(feature = "linux"))]
    async fn interfaces(_: &HubConfig, backend: Backend) -> Result<Self, HubError> {
        Err(HubError::Interface {
            backend,
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    /// Where the tunnels of registered devices end.
    pub fn backend(&self) -> Backend {
        #[cfg(feature = "linux")]
        if let Some((_, backend)) = &self.system {
            return *backend;
        }
        Backend::UserSpace
    }

    /// The UDP address that devices connect to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        fleet!(self, system => system.local_address(), shared => shared.local_address(Door::Fleet))
    }

    /// The UDP address that answers to one of the hub's [`keys`](Self::keys): the same for all of them in this process, a port each where they are interfaces.
    pub fn address_of(&self, key: &PublicKey) -> Option<SocketAddr> {
        fleet!(self, system => system.address_of(key), shared => {
            let known = shared.exchange().locals.fleet().any(|known| known == *key);
            known.then(|| shared.local_address(Door::Fleet).ok()).flatten()
        })
    }

    /// The UDP address that devices enrol at.
    pub fn enrolment_address(&self) -> io::Result<SocketAddr> {
        self.shared.local_address(Door::Enrolment)
    }

    /// Lets a device in. Nobody else notices.
    pub fn add(&self, peer: Peer) -> Result<(), PeerError> {
        fleet!(self, system => system.add(peer), shared => {
            shared.exchange().add(peer.address, peer.key, peer.preshared)
        })
    }

    /// Shuts a device out; its connections are reset. Nobody else notices.
    pub fn remove(&self, address: Ipv4Addr) -> Result<(), PeerError> {
        fleet!(self, system => system.remove(address), shared => shared.exchange().remove(address))
    }

    /// Accepts a new key of a device beside the one in use. Its first use retires the old one ([`Note::DeviceKeyRetired`]).
    pub fn offer_key(&self, address: Ipv4Addr, key: PublicKey) -> Result<(), PeerError> {
        fleet!(self, system => system.offer_key(address, key), shared => {
            shared.exchange().offer_key(address, key)
        })
    }

    /// Accepts a new pre-shared key of a device beside the one in use. Its first use retires the old one ([`Note::PresharedKeyRetired`]).
    ///
    /// An interface has one pre-shared key for each device key, so there the two take turns of ten seconds until the new one is used.
    pub fn offer_preshared(
        &self,
        address: Ipv4Addr,
        preshared: PresharedKey,
    ) -> Result<(), PeerError> {
        fleet!(self, system => system.offer_preshared(address, preshared), shared => {
            shared.exchange().offer_preshared(address, preshared)
        })
    }

    /// Answers to one more hub key, so that devices can move to it one by one; [`PeerStats::hub_key`] tells which have.
    ///
    /// Where keys are interfaces it answers on any free port, which [`Self::address_of`] tells; [`Self::add_key_at`] chooses one.
    pub fn add_key(&self, secret: SecretKey) -> Result<(), HubError> {
        self.add_key_at(secret, 0)
    }

    /// As [`Self::add_key`], on this UDP port where each key has its own; in this process all keys share one.
    pub fn add_key_at(&self, secret: SecretKey, port: u16) -> Result<(), HubError> {
        // A key in this process answers on the port of the first one.
        let _ = port;
        fleet!(self, system => system.add_key(secret, port), shared => {
            if shared.exchange().locals.add(secret, Purpose::Fleet) {
                Ok(())
            } else {
                Err(HubError::TooManyKeys)
            }
        })
    }

    /// Stops answering to a hub key, be it the fleet's or a provisioning key's. Returns whether there was one.
    pub fn retire_key(&self, key: &PublicKey) -> bool {
        #[cfg(feature = "linux")]
        if let Some((system, _)) = &self.system
            && system.retire_key(key)
        {
            return true;
        }
        self.shared.exchange().retire_hub_key(key)
    }

    /// The hub keys that devices may use.
    pub fn keys(&self) -> Vec<PublicKey> {
        fleet!(self, system => system.keys(), shared => shared.exchange().locals.fleet().collect())
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

    /// Accepts connections of devices to a port of the hub; [`ECHO_PORT`](crate::limits::ECHO_PORT) is the hub's own. The buffers are those of a stack in this process; the operating system chooses its own.
    pub fn listen(&self, port: u16, buffers: Buffers) -> Result<Listener, HubError> {
        fleet!(self, system => system.listen(port).map(Listener), shared => {
            shared.listen(port, buffers).map(Listener)
        })
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
        fleet!(self, system => system.dial(device, port).await, shared => {
            let stream = shared.connect(device, port, buffers)?;
            stream.connected().await?;
            Ok(Stream::of_stack(stream))
        })
    }

    /// What is known of one device's tunnel. What an interface knows is some seconds old.
    pub fn peer(&self, address: Ipv4Addr) -> Option<PeerStats> {
        fleet!(self, system => system.stats(address), shared => shared.stats(address))
    }

    /// What is known of every device's tunnel. What an interface knows is some seconds old.
    pub fn peers(&self) -> Vec<PeerStats> {
        fleet!(self, system => system.all_stats(), shared => shared.all_stats())
    }

    /// What was dropped, and why. Interfaces neither tell nor let anyone see what is forged or replayed, and wireguard-go counts nothing that comes out of a tunnel either.
    pub fn counters(&self) -> Counters {
        let counters = self.shared.exchange().counters;
        #[cfg(feature = "linux")]
        if let Some((system, _)) = &self.system {
            let dropped = system.dropped();
            return Counters {
                spoofed: counters.spoofed + dropped.spoofed,
                malformed: counters.malformed + dropped.malformed,
                refused: counters.refused + dropped.other,
                unsent: counters.unsent + dropped.unsent,
                pings: counters.pings + dropped.pings,
                ..counters
            };
        }
        counters
    }

    /// What happens from now on; the fleet stores which keys were retired.
    pub fn notes(&self) -> broadcast::Receiver<Note> {
        fleet!(self, system => system.notes(), shared => shared.notes())
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}
