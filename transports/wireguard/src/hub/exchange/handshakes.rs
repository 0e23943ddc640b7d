//! Initiations: who is it, may they, and the answer.

use std::net::SocketAddr;

use wireguard_sans_io::Received;

use super::super::locals::{Knock, Purpose};
use super::super::path::{self, Keys};
use super::super::peer::{Kind, Peer, Started};
use super::super::{Door, Outlet};
use super::{Exchange, remote};
use crate::engine::Now;
use crate::keys::{PresharedKey, PublicKey};

impl Exchange {
    pub(in crate::hub) fn initiation(
        &mut self,
        now: Now,
        door: Door,
        from: SocketAddr,
        datagram: &[u8],
        outlet: &mut dyn Outlet,
    ) -> Option<u64> {
        let (hub, device) = match self
            .locals
            .knock(now, door, from, datagram, &mut *self.chance)
        {
            Knock::Stranger => {
                self.counters.strangers += 1;
                return None;
            }
            Knock::Cookie(reply) => {
                self.counters.cookies += 1;
                outlet.send(door, from, &reply);
                return None;
            }
            Knock::TooMany => {
                self.counters.refused += 1;
                return None;
            }
            Knock::Forged => {
                self.counters.forged += 1;
                return None;
            }
            Knock::Named { hub, device } => (hub, device),
        };
        let id = match self.locals.purpose(&hub)? {
            Purpose::Fleet => match self.by_device.get(&device) {
                Some(id) => *id,
                None => {
                    self.counters.unknown_devices += 1;
                    return None;
                }
            },
            Purpose::Enrolment(shared) => self.guest(now, hub, device, shared)?,
        };
        self.respond(now, id, door, from, hub, device, datagram, outlet);
        Some(id)
    }

    /// The guest that holds `device`, admitted if there is room.
    pub(in crate::hub) fn guest(
        &mut self,
        now: Now,
        hub: PublicKey,
        device: PublicKey,
        shared: PresharedKey,
    ) -> Option<u64> {
        if let Some(id) = self.guests.find(&hub, &device) {
            return Some(id);
        }
        let Some(room) = self.guests.room(now.ticks) else {
            self.counters.refused += 1;
            return None;
        };
        if let Some(leaves) = room.instead_of {
            self.drop_peer(leaves);
        }
        let kind = Kind::Guest {
            until: room.until,
            proved: false,
        };
        let id = self.insert(Peer::new(kind, self.guests.address(), device, shared));
        self.guests.enter(hub, device, id, room.until);
        Some(id)
    }

    /// Answers an initiation. With two pre-shared keys accepted there are two answers: the device can read only the one made with its own.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different part of one handshake"
    )]
    pub(in crate::hub) fn respond(
        &mut self,
        now: Now,
        id: u64,
        door: Door,
        from: SocketAddr,
        hub: PublicKey,
        device: PublicKey,
        datagram: &[u8],
        outlet: &mut dyn Outlet,
    ) {
        let Some(secret) = self.locals.secret(&hub) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let remote = remote(from);
        let shared: Vec<PresharedKey> = peer.shared.iter().cloned().collect();
        let mut started = Vec::new();
        for shared in shared {
            let Ok(path) = peer.path_for(
                secret,
                Keys {
                    hub,
                    device,
                    shared,
                },
            ) else {
                continue;
            };
            match path.engine.decapsulate(
                now,
                &remote,
                false,
                datagram,
                &mut self.scratch[..],
                &mut *self.chance,
            ) {
                Ok(Received::Reply(wire)) => {
                    let Some(session) = path::sender(wire) else {
                        continue;
                    };
                    outlet.send(door, from, wire);
                    self.counters.handshakes += 1;
                    let freed = path.sessions.responded(session);
                    started.push(Started {
                        path: path.number,
                        session,
                        freed,
                    });
                }
                Ok(_) => {}
                Err(error) => self.counters.refusal(error),
            }
        }
        self.note_sessions(id, started);
    }
}
