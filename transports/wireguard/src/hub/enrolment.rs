//! Guests: devices that are not known yet, on the enrolment port (design.md, section 3.4).
//!
//! A guest is let in by the handshake itself: only who holds the provisioning key can complete it.
//! Until it has, it is a claim, and claims are many and cheap: each is short-lived, their number is bounded, and the oldest claim makes room for a new one.
//! A guest that has proved itself is not driven out by claims.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::engine::Ticks;
use crate::keys::PublicKey;

/// Guests at once, claims included; about 8 KiB each.
pub(super) const GUESTS: usize = 1024;

/// How long a claim may take to prove itself: longer than one lost packet takes to be sent again.
pub(super) const CLAIM_NS: u64 = 20_000_000_000;

/// How long a guest may stay: registering takes seconds, over the slowest link a minute.
pub(super) const STAY_NS: u64 = 600_000_000_000;

/// Room for one more guest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// When it has to have proved itself.
    pub(super) until: Ticks,
    /// The claim that leaves for it.
    pub(super) instead_of: Option<u64>,
}

/// Who is on the enrolment port.
pub(super) struct Guests {
    address: Ipv4Addr,
    by_key: HashMap<(PublicKey, PublicKey), u64>,
    keys: HashMap<u64, (PublicKey, PublicKey)>,
    claims: BTreeSet<(Ticks, u64)>,
}

impl Guests {
    pub(super) fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            by_key: HashMap::new(),
            keys: HashMap::new(),
            claims: BTreeSet::new(),
        }
    }

    /// The address that every guest has: each is alone in its stack.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub(super) fn find(&self, hub: &PublicKey, device: &PublicKey) -> Option<u64> {
        self.by_key.get(&(*hub, *device)).copied()
    }

    /// Guests that came with this hub key, that is, with one provisioning key.
    pub(super) fn of(&self, hub: &PublicKey) -> Vec<u64> {
        self.keys
            .iter()
            .filter(|(_, (by, _))| by == hub)
            .map(|(id, _)| *id)
            .collect()
    }

    /// The hub key and the device key of a guest.
    pub(super) fn keys(&self, id: u64) -> Option<(PublicKey, PublicKey)> {
        self.keys.get(&id).copied()
    }

    /// `None` when all places are taken by guests that have proved themselves.
    pub(super) fn room(&self, now: Ticks) -> Option<Room> {
        let until = now.add_nanos(CLAIM_NS);
        if self.keys.len() < GUESTS {
            return Some(Room {
                until,
                instead_of: None,
            });
        }
        let (_, oldest) = self.claims.first()?;
        Some(Room {
            until,
            instead_of: Some(*oldest),
        })
    }

    pub(super) fn enter(&mut self, hub: PublicKey, device: PublicKey, id: u64, until: Ticks) {
        self.by_key.insert((hub, device), id);
        self.keys.insert(id, (hub, device));
        self.claims.insert((until, id));
    }

    /// The guest holds the provisioning key. Returns when it has to leave.
    pub(super) fn prove(&mut self, id: u64, now: Ticks) -> Ticks {
        self.claims.retain(|(_, claim)| *claim != id);
        now.add_nanos(STAY_NS)
    }

    pub(super) fn leave(&mut self, id: u64) {
        if let Some(keys) = self.keys.remove(&id) {
            self.by_key.remove(&keys);
        }
        self.claims.retain(|(_, claim)| *claim != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        PublicKey(bytes)
    }

    #[test]
    fn a_flood_of_claims_drives_out_claims_and_no_guest() {
        let mut guests = Guests::new(Ipv4Addr::LOCALHOST);
        let hub = key(u64::MAX);
        guests.enter(hub, key(0), 0, Ticks::from_secs(20));
        guests.prove(0, Ticks::from_secs(1));
        for id in 1..10 * GUESTS as u64 {
            let room = guests.room(Ticks::from_secs(1)).unwrap();
            room.instead_of.inspect(|id| guests.leave(*id));
            guests.enter(hub, key(id), id, Ticks::from_nanos(room.until.nanos() + id));
        }
        assert_eq!(
            (guests.keys.len(), guests.by_key.len(), guests.claims.len()),
            (GUESTS, GUESTS, GUESTS - 1)
        );
        assert_eq!(guests.find(&hub, &key(0)), Some(0));
    }

    #[test]
    fn when_all_have_proved_themselves_nobody_else_gets_in() {
        let mut guests = Guests::new(Ipv4Addr::LOCALHOST);
        for id in 0..GUESTS as u64 {
            guests.enter(key(u64::MAX), key(id), id, Ticks::from_secs(20));
            guests.prove(id, Ticks::from_secs(1));
        }
        assert_eq!(guests.room(Ticks::from_secs(2)), None);
        guests.leave(7);
        assert_eq!(
            guests.room(Ticks::from_secs(2)).map(|room| room.instead_of),
            Some(None)
        );
    }
}
