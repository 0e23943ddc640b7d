//! Who may come in, with which keys, and what the interfaces said of them last: decides what the interfaces are to be told.
//!
//! An interface has one peer for each device key, so two keys of a device are two peers. The one in use owns the device's address; the one that is offered may do a handshake, and that handshake is what retires the old one.
//! Two pre-shared keys take turns ([`Turn`]).
//! Pure: observations and the time are arguments.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Instant, SystemTime};

use super::super::accepted::Accepted;
use super::super::{Note, Peer, PeerError, PeerStats};
use super::turn::Turn;
use crate::engine::UnusableKey;
use crate::interface::control::age;
use crate::keys::{PresharedKey, PublicKey};

/// Something to tell the interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// This key may come in; with an address, packets from and to that are its own.
    Peer {
        key: PublicKey,
        preshared: PresharedKey,
        address: Option<Ipv4Addr>,
    },
    /// The peer's pre-shared key is another one now.
    Preshared {
        key: PublicKey,
        preshared: PresharedKey,
    },
    /// This key may not come in any more.
    Remove { key: PublicKey },
    /// The device is reached through the interface of this hub key, or through none.
    Route {
        address: Ipv4Addr,
        hub: Option<PublicKey>,
    },
}

/// What the interface of one hub key says about one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) hub: PublicKey,
    pub(super) key: PublicKey,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) handshake: Option<SystemTime>,
    pub(super) received: u64,
    pub(super) sent: u64,
}

struct Device {
    keys: Accepted<PublicKey>,
    shared: Accepted<PresharedKey>,
    turn: Turn,
    /// The hub key it used last.
    hub: Option<PublicKey>,
    endpoint: Option<SocketAddr>,
    handshake: Option<SystemTime>,
    received: u64,
    sent: u64,
    /// Bytes of peers that are gone.
    before: (u64, u64),
}

/// All devices.
#[derive(Default)]
pub(super) struct Roster {
    devices: HashMap<Ipv4Addr, Device>,
    by_key: HashMap<PublicKey, Ipv4Addr>,
    /// The hub's keys, the oldest first.
    hubs: Vec<PublicKey>,
    /// When the look before this one began: what is seen now happened later.
    looked: Option<Instant>,
}

impl Roster {
    pub(super) fn hubs(&self) -> &[PublicKey] {
        &self.hubs
    }

    pub(super) fn knows(&self, address: Ipv4Addr) -> bool {
        self.devices.contains_key(&address)
    }

    /// Something is under way that only a look shows.
    pub(super) fn is_restless(&self) -> bool {
        let mut devices = self.devices.values();
        self.hubs.len() > 1
            || devices.any(|device| device.keys.next().is_some() || device.shared.next().is_some())
    }

    pub(super) fn stats(&self, address: Ipv4Addr) -> Option<PeerStats> {
        let device = self.devices.get(&address)?;
        Some(PeerStats {
            address,
            key: *device.keys.current(),
            offered_key: device.keys.next().copied(),
            hub_key: device.hub,
            endpoint: device.endpoint,
            last_handshake: device.handshake.and_then(age),
            received: device.before.0 + device.received,
            sent: device.before.1 + device.sent,
        })
    }

    pub(super) fn all_stats(&self) -> Vec<PeerStats> {
        let addresses = self.devices.keys();
        addresses
            .filter_map(|address| self.stats(*address))
            .collect()
    }

    pub(super) fn add(
        &mut self,
        peer: Peer,
        gateway: Ipv4Addr,
        check: impl FnOnce(&PublicKey) -> Result<(), UnusableKey>,
        now: Instant,
    ) -> Result<Vec<Change>, PeerError> {
        if !crate::stack::is_host(peer.address) {
            return Err(PeerError::UnusableAddress);
        }
        if peer.address == gateway || self.devices.contains_key(&peer.address) {
            return Err(PeerError::AddressTaken);
        }
        self.check_key(&peer.key, None, check)?;
        self.by_key.insert(peer.key, peer.address);
        let device = Device {
            keys: Accepted::new(peer.key),
            shared: Accepted::new(peer.preshared),
            turn: Turn::new(now),
            hub: None,
            endpoint: None,
            handshake: None,
            received: 0,
            sent: 0,
            before: (0, 0),
        };
        let mut changes = device.peers(peer.address);
        changes.push(Change::Route {
            address: peer.address,
            hub: self.hubs.first().copied(),
        });
        self.devices.insert(peer.address, device);
        Ok(changes)
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) -> Result<Vec<Change>, PeerError> {
        let device = self
            .devices
            .remove(&address)
            .ok_or(PeerError::NoSuchDevice)?;
        let mut changes = vec![Change::Route { address, hub: None }];
        for key in device.keys.iter() {
            self.by_key.remove(key);
            changes.push(Change::Remove { key: *key });
        }
        Ok(changes)
    }

    pub(super) fn offer_key(
        &mut self,
        address: Ipv4Addr,
        key: PublicKey,
        check: impl FnOnce(&PublicKey) -> Result<(), UnusableKey>,
    ) -> Result<Vec<Change>, PeerError> {
        if !self.knows(address) {
            return Err(PeerError::NoSuchDevice);
        }
        self.check_key(&key, Some(address), check)?;
        let device = self
            .devices
            .get_mut(&address)
            .ok_or(PeerError::NoSuchDevice)?;
        let mut changes = Vec::new();
        if let Some(displaced) = device.keys.offer(key) {
            self.by_key.remove(&displaced);
            changes.push(Change::Remove { key: displaced });
        }
        self.by_key.insert(key, address);
        changes.extend(device.peers(address));
        Ok(changes)
    }

    pub(super) fn offer_preshared(
        &mut self,
        address: Ipv4Addr,
        preshared: PresharedKey,
        now: Instant,
    ) -> Result<Vec<Change>, PeerError> {
        let device = self
            .devices
            .get_mut(&address)
            .ok_or(PeerError::NoSuchDevice)?;
        device.shared.offer(preshared);
        device.turn = Turn::new(now);
        Ok(device.preshared())
    }

    fn check_key(
        &self,
        key: &PublicKey,
        owner: Option<Ipv4Addr>,
        check: impl FnOnce(&PublicKey) -> Result<(), UnusableKey>,
    ) -> Result<(), PeerError> {
        let taken = self.by_key.get(key);
        if taken.is_some_and(|address| Some(*address) != owner) {
            return Err(PeerError::KeyTaken);
        }
        check(key).map_err(|_| PeerError::UnusableKey)
    }

    /// One more hub key. Returns the peers that its interface is to have.
    pub(super) fn add_hub(&mut self, hub: PublicKey) -> Vec<Change> {
        if !self.hubs.contains(&hub) {
            self.hubs.push(hub);
        }
        let first = self.hubs.first().copied();
        let mut changes = Vec::new();
        for (address, device) in &self.devices {
            changes.extend(device.peers(*address));
            changes.push(Change::Route {
                address: *address,
                hub: device.hub.or(first),
            });
        }
        changes
    }

    /// One hub key less. Returns the routes that lead elsewhere now.
    pub(super) fn remove_hub(&mut self, hub: &PublicKey) -> Vec<Change> {
        self.hubs.retain(|known| known != hub);
        let first = self.hubs.first().copied();
        let mut changes = Vec::new();
        for (address, device) in &mut self.devices {
            if device.hub == Some(*hub) {
                device.hub = None;
            }
            changes.push(Change::Route {
                address: *address,
                hub: device.hub.or(first),
            });
        }
        changes
    }

    /// Takes in what the interfaces say. `began` is when they were asked.
    pub(super) fn look(
        &mut self,
        seen: &[Seen],
        began: Instant,
        notes: &mut Vec<Note>,
    ) -> Vec<Change> {
        let since = self.looked.replace(began);
        let mut changes = self.strangers(seen);
        let mut by_address: HashMap<Ipv4Addr, Vec<Seen>> = HashMap::new();
        for one in seen {
            if let Some(address) = self.by_key.get(&one.key) {
                by_address.entry(*address).or_default().push(*one);
            }
        }
        for (address, device) in &mut self.devices {
            let seen = by_address.remove(address).unwrap_or_default();
            changes.extend(device.missing(*address, &seen, &self.hubs));
            let retired = device.update(*address, &seen, since, notes, &mut changes);
            if let Some(retired) = retired {
                self.by_key.remove(&retired);
            }
            if device.shared.next().is_some() && device.turn.ends(began) {
                changes.extend(device.preshared());
            }
        }
        changes
    }

    /// Peers that should not be there.
    fn strangers(&self, seen: &[Seen]) -> Vec<Change> {
        let keys: HashSet<PublicKey> = seen
            .iter()
            .map(|one| one.key)
            .filter(|key| !self.by_key.contains_key(key))
            .collect();
        keys.into_iter().map(|key| Change::Remove { key }).collect()
    }
}

impl Device {
    /// The pre-shared key whose turn it is.
    fn turn(&self) -> &PresharedKey {
        match self.shared.next() {
            Some(next) if self.turn.is_new() => next,
            Some(_) | None => self.shared.current(),
        }
    }

    /// The peers of its keys.
    fn peers(&self, address: Ipv4Addr) -> Vec<Change> {
        let peer = |key: &PublicKey| Change::Peer {
            key: *key,
            preshared: self.turn().clone(),
            address: (key == self.keys.current()).then_some(address),
        };
        self.keys.iter().map(peer).collect()
    }

    fn preshared(&self) -> Vec<Change> {
        let change = |key: &PublicKey| Change::Preshared {
            key: *key,
            preshared: self.turn().clone(),
        };
        self.keys.iter().map(change).collect()
    }

    /// Peers that should be there and are not: an interface did not take them, or somebody removed them.
    fn missing(&self, address: Ipv4Addr, seen: &[Seen], hubs: &[PublicKey]) -> Vec<Change> {
        let mut peers = self.peers(address);
        peers.retain(|change| {
            let Change::Peer { key, .. } = change else {
                return false;
            };
            seen.iter().filter(|one| one.key == *key).count() < hubs.len()
        });
        peers
    }

    /// Takes in what is seen of it. Returns the key that is retired.
    fn update(
        &mut self,
        address: Ipv4Addr,
        seen: &[Seen],
        since: Option<Instant>,
        notes: &mut Vec<Note>,
        changes: &mut Vec<Change>,
    ) -> Option<PublicKey> {
        self.received = seen.iter().map(|one| one.received).sum();
        self.sent = seen.iter().map(|one| one.sent).sum();
        let newest = seen.iter().max_by_key(|one| one.handshake)?;
        let handshake = newest.handshake?;
        let in_use = (Some(newest.hub), newest.key) == (self.hub, *self.keys.current());
        if in_use || self.endpoint.is_none() {
            self.endpoint = newest.endpoint;
        }
        if self.handshake.is_some_and(|last| handshake <= last) {
            return None;
        }
        self.handshake = Some(handshake);
        self.endpoint = newest.endpoint;
        let retired = self.keys.used(&newest.key);
        if let Some(retired) = retired {
            let gone = seen.iter().filter(|one| one.key == retired);
            for one in gone {
                self.before.0 += one.received;
                self.before.1 += one.sent;
                self.received -= one.received;
                self.sent -= one.sent;
            }
            changes.push(Change::Remove { key: retired });
            changes.extend(self.peers(address));
            notes.push(Note::DeviceKeyRetired {
                address,
                retired,
                current: newest.key,
            });
        }
        if self.hub.replace(newest.hub) != Some(newest.hub) {
            changes.push(Change::Route {
                address,
                hub: Some(newest.hub),
            });
            notes.push(Note::Connected {
                address,
                hub: newest.hub,
            });
        }
        if let Some(next) = self.shared.next().cloned()
            && self.turn.proves(since)
        {
            self.shared.used(&next);
            notes.push(Note::PresharedKeyRetired { address });
        }
        retired
    }
}

#[cfg(test)]
mod tests;
