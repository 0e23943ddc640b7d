//! Connections that come to the hub.

use std::net::Ipv4Addr;

use super::acceptor::Acceptor;
use crate::Stream;
use crate::keys::PublicKey;

/// Connections of devices to one port of the hub. Dropping it closes the port.
#[derive(Debug)]
pub struct Listener(pub(super) Acceptor<Ipv4Addr>);

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
pub struct GuestListener(pub(super) Acceptor<Guest>);

impl GuestListener {
    /// The next connection, and who made it. `None` when the hub has stopped.
    pub async fn accept(&mut self) -> Option<(Stream, Guest)> {
        self.0.next().await
    }
}
