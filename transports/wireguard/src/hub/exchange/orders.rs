//! What the fleet orders: who may come in, and with which keys.

use std::net::Ipv4Addr;

use super::super::peer::{Kind, Peer};
use super::Exchange;
use crate::engine::UnusableKey;
use crate::keys::{PresharedKey, PublicKey};

/// Why a device was not added or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// There is no device with this address.
    #[error("no device has this tunnel address")]
    NoSuchDevice,
    /// The address belongs to another device, or to the hub.
    #[error("the tunnel address is taken")]
    AddressTaken,
    /// No device can have the address.
    #[error("the tunnel address is no host's")]
    UnusableAddress,
    /// Another device uses this key.
    #[error("another device uses this key")]
    KeyTaken,
    /// The key is the hub's own or no point of the curve that a handshake could use.
    #[error("the device's public key is unusable")]
    UnusableKey,
    /// The interface did not take the change. It is tried again by itself, but for a device that was to be added.
    #[error("the system's WireGuard did not take the change")]
    Refused,
}

impl Exchange {
    /// Adds a device.
    pub(in crate::hub) fn add(
        &mut self,
        address: Ipv4Addr,
        device: PublicKey,
        shared: PresharedKey,
    ) -> Result<(), PeerError> {
        if !crate::stack::is_host(address) {
            return Err(PeerError::UnusableAddress);
        }
        if address == self.address || self.by_address.contains_key(&address) {
            return Err(PeerError::AddressTaken);
        }
        self.check_key(&device, None)?;
        let id = self.insert(Peer::new(Kind::Device, address, device, shared));
        self.by_address.insert(address, id);
        self.by_device.insert(device, id);
        Ok(())
    }

    /// Accepts another key of a device beside the one in use; its first use retires the old one.
    pub(in crate::hub) fn offer_key(
        &mut self,
        address: Ipv4Addr,
        device: PublicKey,
    ) -> Result<(), PeerError> {
        let id = *self
            .by_address
            .get(&address)
            .ok_or(PeerError::NoSuchDevice)?;
        self.check_key(&device, Some(id))?;
        let peer = self.peers.get_mut(&id).ok_or(PeerError::NoSuchDevice)?;
        let displaced = peer.devices.offer(device);
        self.by_device.insert(device, id);
        self.forget_device_key(id, displaced);
        Ok(())
    }

    /// Accepts another pre-shared key of a device beside the one in use; its first use retires the old one.
    pub(in crate::hub) fn offer_preshared(
        &mut self,
        address: Ipv4Addr,
        shared: PresharedKey,
    ) -> Result<(), PeerError> {
        let id = *self
            .by_address
            .get(&address)
            .ok_or(PeerError::NoSuchDevice)?;
        let peer = self.peers.get_mut(&id).ok_or(PeerError::NoSuchDevice)?;
        if let Some(displaced) = peer.shared.offer(shared) {
            let freed = peer.retain_paths(|path| path.keys.shared != displaced);
            self.free_sessions(freed);
        }
        Ok(())
    }

    /// Removes a device; its connections are reset.
    pub(in crate::hub) fn remove(&mut self, address: Ipv4Addr) -> Result<(), PeerError> {
        let id = *self
            .by_address
            .get(&address)
            .ok_or(PeerError::NoSuchDevice)?;
        self.drop_peer(id);
        Ok(())
    }

    /// Stops answering for one of the hub's keys; tunnels over it end.
    pub(in crate::hub) fn retire_hub_key(&mut self, hub: &PublicKey) -> bool {
        let retired = self.locals.remove(hub);
        let mut freed = Vec::new();
        for peer in self.peers.values_mut() {
            freed.extend(peer.retain_paths(|path| path.keys.hub != *hub));
        }
        self.free_sessions(freed);
        self.drop_guests_of(hub);
        retired
    }

    pub(in crate::hub) fn check_key(
        &self,
        device: &PublicKey,
        owner: Option<u64>,
    ) -> Result<(), PeerError> {
        if self
            .by_device
            .get(device)
            .is_some_and(|id| Some(*id) != owner)
        {
            return Err(PeerError::KeyTaken);
        }
        let usable: Result<(), UnusableKey> = self.locals.check(device);
        usable.map_err(|_| PeerError::UnusableKey)
    }
}
