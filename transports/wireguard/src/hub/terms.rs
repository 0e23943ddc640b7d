//! What a hub is told, and what it tells.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::keys::{PresharedKey, PublicKey, SecretKey};

/// Where the tunnels of registered devices end. Those of devices that enrol end in this process always: an interface takes no unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In this process, which needs no right at all: each device has a small TCP/IP stack of its own.
    UserSpace,
    /// In the kernel's WireGuard, in a network namespace of the hub's own: needs root, the feature `linux` and the module.
    Kernel,
    /// The same with the program `wireguard-go` and TUN devices in the place of the module.
    WireguardGo,
}

/// What a hub needs to start.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The hub's key; more can be [added](Hub::add_key) to rotate it.
    pub secret: SecretKey,
    /// The UDP address for devices that are registered. `[::]` takes IPv4 too. An interface listens on every address, so only a port can be chosen there.
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
    /// Bytes of inner packets that came from it; an interface counts WireGuard's own too.
    pub received: u64,
    /// Bytes of inner packets that went to it; an interface counts WireGuard's own too.
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
    /// [`crate::limits::HUB_KEYS`](crate::limits::HUB_KEYS) are in use.
    #[error("the hub has as many keys as it can hold")]
    TooManyKeys,
    /// An address inside the tunnel is no host's.
    #[error("{0} cannot be a host's address inside the tunnel")]
    UnusableAddress(Ipv4Addr),
    /// There is no enrolment port.
    #[error("the hub was started without an enrolment port")]
    NoEnrolment,
    /// No interface: the right, the module or the program is missing, or the UDP port is taken.
    #[error(
        "no {backend:?} hub on this machine: it needs root, a free UDP port, and the kernel's WireGuard or the program wireguard-go"
    )]
    Interface {
        /// The back end in question.
        backend: Backend,
        /// What the operating system said.
        source: io::Error,
    },
    /// An interface cannot listen on one address alone.
    #[error(
        "the system's WireGuard listens on every address: use [::] and the port instead of {0}, or the user-space hub"
    )]
    EveryAddress(SocketAddr),
    /// The list of back ends is empty.
    #[error("no back end was allowed")]
    NoBackend,
}
