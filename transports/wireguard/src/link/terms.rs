//! What a [`Link`](super::Link) is told and what it tells.

use wireguard_sans_io::Ticks;

use crate::keys::{PresharedKey, PublicKey, SecretKey};

/// What a tunnel's end needs to know: its key, the hub's, and what they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// The device's private key.
    pub secret: SecretKey,
    /// The hub's public key.
    pub hub: PublicKey,
    /// The pre-shared key; the default is none.
    pub preshared: PresharedKey,
}

impl KeySet {
    /// What a link without keys has.
    pub(super) const NONE: Self = Self {
        secret: SecretKey([0; 32]),
        hub: PublicKey([0; 32]),
        preshared: PresharedKey([0; 32]),
    };
}

/// How the mapping in a NAT is held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepAlive {
    /// The interval is learned, starting from 25 s.
    #[default]
    Learned,
    /// Always so many seconds.
    Every(u16),
    /// There is no NAT, or nobody has to reach the device.
    Off,
}

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// An inner packet for the stack.
    Packet(&'a [u8]),
    /// A datagram to send back to where the input came from.
    Reply(&'a [u8]),
    /// The tunnel stands; what waited can be sent.
    Established,
    /// The hub showed that it is there.
    Alive,
    /// Nothing, or nothing that can be trusted.
    Ignored,
}

/// What became of an inner packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Send this datagram; the packet is in it.
    Datagram(&'a [u8]),
    /// The packet was not taken; there is a handshake to wait for. Send this datagram, if there is one.
    Wait(Option<&'a [u8]>),
}

/// Something that happened, to be acted upon or reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkNote {
    /// The hub answered.
    Reachable,
    /// The hub has not answered for a minute and a half. Its address may have changed.
    Unreachable,
    /// The pending keys work and are the current ones now: store that.
    KeysConfirmed,
}

/// Numbers for status pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// When the last handshake was completed.
    pub last_handshake: Option<Ticks>,
    /// Bytes of inner packets received and sent.
    pub received: u64,
    /// See [`Self::received`].
    pub sent: u64,
    /// Datagrams that were malformed, forged or replayed.
    pub dropped: u64,
    /// Seconds between keep-alives; zero when there are none.
    pub keep_alive_s: u16,
}

impl LinkStats {
    pub(super) const NONE: Self = Self {
        last_handshake: None,
        received: 0,
        sent: 0,
        dropped: 0,
        keep_alive_s: 0,
    };
}
