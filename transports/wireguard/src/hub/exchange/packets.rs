//! Everything that belongs to a session: it proves who sent it, and may carry an inner packet.

use std::net::{Ipv4Addr, SocketAddr};

use wireguard_sans_io::Received;

use super::super::Door;
use super::super::note::Note;
use super::super::path;
use super::super::peer::Kind;
use super::{Exchange, remote};
use crate::engine::Now;

impl Exchange {
    /// A response, a cookie or a packet: the session number says whose.
    pub(in crate::hub) fn continuation(
        &mut self,
        now: Now,
        door: Door,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<u64> {
        let Some(session) = path::receiver(datagram) else {
            self.counters.malformed += 1;
            return None;
        };
        let Some((id, number)) = self.by_session.get(&session).copied() else {
            self.counters.unknown_sessions += 1;
            return None;
        };
        let remote = remote(from);
        let peer = self.peers.get_mut(&id)?;
        let path = peer.path(number)?;
        match path.engine.decapsulate(
            now,
            &remote,
            false,
            datagram,
            &mut self.scratch[..],
            &mut *self.chance,
        ) {
            Err(error) => {
                self.counters.refusal(error);
                None
            }
            Ok(Received::CookieStored) => Some(id),
            Ok(Received::Reply(_)) => None,
            Ok(Received::HandshakeComplete) => {
                let freed = path.sessions.answered();
                path.last_handshake = Some(now.ticks);
                self.by_session_remove(freed);
                self.proved(now, id, number, door, from);
                Some(id)
            }
            Ok(Received::Keepalive) => {
                self.authenticated(now, id, number, session, door, from);
                Some(id)
            }
            Ok(Received::Data(inner)) => {
                let packet = inner[..inner_length(inner)].to_vec();
                self.authenticated(now, id, number, session, door, from);
                self.deliver(now, id, packet);
                Some(id)
            }
        }
    }

    /// A message of a session proved who sent it.
    pub(in crate::hub) fn authenticated(
        &mut self,
        now: Now,
        id: u64,
        number: u32,
        session: u32,
        door: Door,
        from: SocketAddr,
    ) {
        let Some(path) = self.peers.get_mut(&id).and_then(|peer| peer.path(number)) else {
            return;
        };
        if let Some(freed) = path.sessions.confirmed(session) {
            path.last_handshake = Some(now.ticks);
            freed
                .into_iter()
                .for_each(|session| self.by_session_remove(session));
            self.proved(now, id, number, door, from);
        } else {
            self.moved(id, door, from);
        }
    }

    /// A handshake on this path is complete at both ends, so its keys are the device's keys.
    pub(in crate::hub) fn proved(
        &mut self,
        now: Now,
        id: u64,
        number: u32,
        door: Door,
        from: SocketAddr,
    ) {
        self.moved(id, door, from);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(keys) = peer.path(number).map(|path| path.keys.clone()) else {
            return;
        };
        let before = peer
            .active
            .and_then(|active| peer.path(active))
            .map(|path| path.keys.hub);
        peer.active = Some(number);
        let retired_device = peer.devices.used(&keys.device);
        let retired_shared = peer.shared.used(&keys.shared);
        // One path per device key and hub key may still have packets under way; what was retired has not.
        let freed = peer.retain_paths(|path| {
            Some(path.keys.device) != retired_device
                && Some(&path.keys.shared) != retired_shared.as_ref()
        });
        let address = peer.address;
        if let Kind::Guest { until, proved } = &mut peer.kind {
            if !*proved {
                *until = self.guests.prove(id, now.ticks);
            }
            *proved = true;
        }
        self.free_sessions(freed);
        self.forget_device_key(id, retired_device);
        if let Some(retired) = retired_device {
            self.notes.push(Note::DeviceKeyRetired {
                address,
                retired,
                current: keys.device,
            });
        }
        if retired_shared.is_some() {
            self.notes.push(Note::PresharedKeyRetired { address });
        }
        if before != Some(keys.hub) && self.by_address.contains_key(&address) {
            self.notes.push(Note::Connected {
                address,
                hub: keys.hub,
            });
        }
    }

    /// The peer sent from here, so this is where it is.
    pub(in crate::hub) fn moved(&mut self, id: u64, door: Door, from: SocketAddr) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let before = peer.endpoint.replace((door, from));
        if before == peer.endpoint {
            return;
        }
        if let Some(before) = before.filter(|before| self.by_endpoint.get(before) == Some(&id)) {
            self.by_endpoint.remove(&before);
        }
        self.by_endpoint.insert((door, from), id);
    }

    /// Hands an inner packet to its device's stack if it comes from the device's own address and is for the hub.
    pub(in crate::hub) fn deliver(&mut self, now: Now, id: u64, packet: Vec<u8>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.received += packet.len() as u64;
        let Some((_, target)) = addresses(&packet).filter(|(source, _)| *source == peer.address)
        else {
            self.counters.spoofed += 1;
            return;
        };
        if target != self.address {
            self.counters.not_for_hub += 1;
            return;
        }
        let ports = match peer.kind {
            Kind::Device => &self.ports,
            Kind::Guest { .. } => &self.guest_ports,
        };
        let (_, stack) = peer.stack_mut(self.address, now.ticks, &mut *self.chance);
        stack.receive(now.ticks, packet, ports);
    }
}

/// Source and destination of an IPv4 packet that is as long as it says.
fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let packet = smoltcp::wire::Ipv4Packet::new_checked(packet).ok()?;
    Some((packet.src_addr(), packet.dst_addr()))
}

/// Without WireGuard's padding.
fn inner_length(padded: &[u8]) -> usize {
    wireguard_sans_io::ip_packet_len(padded)
        .unwrap_or(padded.len())
        .min(padded.len())
}
