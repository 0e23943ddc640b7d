//! The hub without its sockets: datagrams, time and orders in, datagrams and connections out.
//!
//! Order of work for one datagram: which door, what kind, who may, which engine, whose address; a step that says no ends it and counts it.
//! A device's packets reach its own stack and nothing else, so there is no way from one device to another.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wireguard_sans_io::Received;

use super::counters::Counters;
use super::locals::{Knock, Locals, Purpose};
use super::note::Note;
use super::path::{self, Keys};
use super::peer::{Kind, Peer, Started};
use super::{Door, Outlet, enrolment};
use crate::engine::{EntropySource, Now, Ticks, UnusableKey};
use crate::keys::{PresharedKey, PublicKey};
use crate::limits;
use crate::ping::Ping;
use crate::stack::{Ports, Stack, StreamId};

/// A connection that came in.
pub(super) struct Arrival {
    pub(super) stream: StreamId,
    pub(super) port: u16,
    pub(super) peer: u64,
}

pub(super) struct Exchange {
    /// The hub's own address inside every tunnel.
    pub(super) address: Ipv4Addr,
    pub(super) locals: Locals,
    peers: HashMap<u64, Peer>,
    next_peer: u64,
    by_address: HashMap<Ipv4Addr, u64>,
    by_device: HashMap<PublicKey, u64>,
    by_session: HashMap<u32, (u64, u32)>,
    by_endpoint: HashMap<(Door, SocketAddr), u64>,
    timers: BTreeSet<(Ticks, u64)>,
    pub(super) guests: enrolment::Guests,
    /// Ports open to devices, and those open to guests.
    pub(super) ports: Ports,
    pub(super) guest_ports: Ports,
    pub(super) counters: Counters,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) notes: Vec<Note>,
    scratch: Box<[u8; limits::DATAGRAM]>,
    chance: Box<dyn EntropySource + Send>,
}

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
}

impl Exchange {
    pub(super) fn new(
        address: Ipv4Addr,
        guest_address: Ipv4Addr,
        chance: Box<dyn EntropySource + Send>,
    ) -> Self {
        Self {
            address,
            locals: Locals::default(),
            peers: HashMap::new(),
            next_peer: 0,
            by_address: HashMap::new(),
            by_device: HashMap::new(),
            by_session: HashMap::new(),
            by_endpoint: HashMap::new(),
            timers: BTreeSet::new(),
            guests: enrolment::Guests::new(guest_address),
            ports: Ports::new(),
            guest_ports: Ports::new(),
            counters: Counters::default(),
            arrivals: Vec::new(),
            notes: Vec::new(),
            scratch: Box::new([0; limits::DATAGRAM]),
            chance,
        }
    }

    /// Adds a device.
    pub(super) fn add(
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
    pub(super) fn offer_key(
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
    pub(super) fn offer_preshared(
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
    pub(super) fn remove(&mut self, address: Ipv4Addr) -> Result<(), PeerError> {
        let id = *self
            .by_address
            .get(&address)
            .ok_or(PeerError::NoSuchDevice)?;
        self.drop_peer(id);
        Ok(())
    }

    /// Stops answering for one of the hub's keys; tunnels over it end.
    pub(super) fn retire_hub_key(&mut self, hub: &PublicKey) -> bool {
        let retired = self.locals.remove(hub);
        let mut freed = Vec::new();
        for peer in self.peers.values_mut() {
            freed.extend(peer.retain_paths(|path| path.keys.hub != *hub));
        }
        self.free_sessions(freed);
        self.drop_guests_of(hub);
        retired
    }

    pub(super) fn id(&self, address: Ipv4Addr) -> Option<u64> {
        self.by_address.get(&address).copied()
    }

    pub(super) fn peer(&self, id: u64) -> Option<&Peer> {
        self.peers.get(&id)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Peer> {
        self.by_address.values().filter_map(|id| self.peers.get(id))
    }

    /// The stack of a peer, made when it is first needed, and which life of it this is.
    pub(super) fn stack(&mut self, now: Now, id: u64) -> Option<(u64, &mut Stack)> {
        let address = self.address;
        let peer = self.peers.get_mut(&id)?;
        let stack = peer.stack_mut(address, now.ticks, &mut *self.chance);
        Some(stack)
    }

    /// The stack that a connection lives in, unless that is over.
    pub(super) fn stack_of(&mut self, stream: StreamId) -> Option<&mut Stack> {
        let peer = self.peers.get_mut(&stream.peer)?;
        if peer.life != stream.life {
            return None;
        }
        peer.stack.as_deref_mut()
    }

    /// Takes in one datagram. Call [`Self::settle`] with what it returns, at the latest before the next wait.
    pub(super) fn receive(
        &mut self,
        now: Now,
        door: Door,
        from: SocketAddr,
        datagram: &[u8],
        outlet: &mut dyn Outlet,
    ) -> Option<u64> {
        if let Some(ping) = Ping::decode(datagram) {
            self.ping(now.ticks, door, from, ping, outlet);
            return None;
        }
        match (datagram.first(), datagram.len()) {
            (Some(1), 148) => self.initiation(now, door, from, datagram, outlet),
            (Some(2..=4), _) => self.continuation(now, door, from, datagram),
            _ => {
                self.counters.malformed += 1;
                None
            }
        }
    }

    /// A mapping is held open. Whoever comes from an unknown place has a new one, and must show itself.
    fn ping(
        &mut self,
        now: Ticks,
        door: Door,
        from: SocketAddr,
        ping: Ping,
        outlet: &mut dyn Outlet,
    ) {
        self.counters.pings += 1;
        let Some(id) = self.by_endpoint.get(&(door, from)).copied() else {
            outlet.send(door, from, &Ping::Unknown.encode());
            return;
        };
        let (Ping::Probe { after_s, nonce }, Some(peer)) = (ping, self.peers.get_mut(&id)) else {
            return;
        };
        if after_s <= limits::LONGEST_PROBE_S {
            peer.echo = Some((now.add_nanos(u64::from(after_s) * 1_000_000_000), nonce));
            self.set_timer(now, id);
        }
    }

    /// Notes when a peer has something due by itself.
    fn set_timer(&mut self, now: Ticks, id: u64) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let due = peer.due(now);
        let before = std::mem::replace(&mut peer.wake, due);
        if before == due {
            return;
        }
        if let Some(at) = before {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = due {
            self.timers.insert((at, id));
        }
    }

    fn initiation(
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
    fn guest(
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
    fn respond(
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

    /// A response, a cookie or a packet: the session number says whose.
    fn continuation(
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
    fn authenticated(
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
    fn proved(&mut self, now: Now, id: u64, number: u32, door: Door, from: SocketAddr) {
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
    fn moved(&mut self, id: u64, door: Door, from: SocketAddr) {
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
    fn deliver(&mut self, now: Now, id: u64, packet: Vec<u8>) {
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

    /// Moves what a peer's stack has to send, hands out its arrivals and sets its timer.
    pub(super) fn settle(&mut self, now: Now, id: u64, outlet: &mut dyn Outlet) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let mut started = Vec::new();
        for packet in peer.take_waiting() {
            started.extend(peer.send(now, packet, outlet, &mut *self.chance));
        }
        if let Some(mut stack) = peer.stack.take() {
            stack.poll(now.ticks);
            while let Some(packet) = stack.emit() {
                started.extend(peer.send(now, packet, outlet, &mut *self.chance));
            }
            while let Some((socket, port)) = stack.accept() {
                let stream = StreamId {
                    peer: id,
                    life: peer.life,
                    socket,
                };
                self.arrivals.push(Arrival {
                    stream,
                    port,
                    peer: id,
                });
            }
            // What is idle is dropped: the memory of a device that only waits is its engine.
            peer.stack = (!stack.is_idle()).then_some(stack);
        }
        self.set_timer(now.ticks, id);
        self.note_sessions(id, started);
    }

    /// How many sessions, places and timers are kept.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (
            self.by_session.len(),
            self.by_endpoint.len(),
            self.timers.len(),
        )
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn wake(&self) -> Option<Ticks> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Does what is due; at most [`limits::DATAGRAMS_PER_TURN`] peers at a time.
    pub(super) fn expire(&mut self, now: Now, outlet: &mut dyn Outlet) {
        let due: Vec<u64> = self
            .timers
            .iter()
            .take_while(|(at, _)| *at <= now.ticks)
            .take(limits::DATAGRAMS_PER_TURN)
            .map(|(_, id)| *id)
            .collect();
        for id in due {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            if matches!(peer.kind, Kind::Guest { until, .. } if until <= now.ticks) {
                self.drop_peer(id);
                continue;
            }
            peer.echo(now.ticks, outlet);
            let started = peer.poll_engines(now, outlet, &mut *self.chance);
            self.note_sessions(id, started);
            self.settle(now, id, outlet);
        }
    }

    fn check_key(&self, device: &PublicKey, owner: Option<u64>) -> Result<(), PeerError> {
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

    fn insert(&mut self, peer: Peer) -> u64 {
        let id = self.next_peer;
        self.next_peer += 1;
        if let Some(at) = peer.wake {
            self.timers.insert((at, id));
        }
        self.peers.insert(id, peer);
        id
    }

    fn drop_peer(&mut self, id: u64) {
        let Some(mut peer) = self.peers.remove(&id) else {
            return;
        };
        if let Some(stack) = &mut peer.stack {
            stack.reset_all();
        }
        if let Some(at) = peer.wake {
            self.timers.remove(&(at, id));
        }
        for session in peer.retain_paths(|_| false) {
            self.by_session_remove(Some(session));
        }
        if let Some(endpoint) = peer
            .endpoint
            .filter(|endpoint| self.by_endpoint.get(endpoint) == Some(&id))
        {
            self.by_endpoint.remove(&endpoint);
        }
        match peer.kind {
            Kind::Device => {
                self.by_address.remove(&peer.address);
                for device in peer.devices.iter() {
                    self.by_device.remove(device);
                }
            }
            Kind::Guest { .. } => self.guests.leave(id),
        }
    }

    fn drop_guests_of(&mut self, hub: &PublicKey) {
        for id in self.guests.of(hub) {
            self.drop_peer(id);
        }
    }

    fn forget_device_key(&mut self, id: u64, retired: Option<PublicKey>) {
        let Some(retired) = retired else { return };
        if self.by_device.get(&retired) == Some(&id) {
            self.by_device.remove(&retired);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            let freed = peer.retain_paths(|path| path.keys.device != retired);
            self.free_sessions(freed);
        }
    }

    fn note_sessions(&mut self, id: u64, started: Vec<Started>) {
        for Started {
            path,
            session,
            freed,
        } in started
        {
            self.by_session_remove(freed);
            // A number that is taken stays with its owner; this handshake then fails, and the next one draws another.
            self.by_session.entry(session).or_insert((id, path));
        }
    }

    fn free_sessions(&mut self, freed: Vec<u32>) {
        freed
            .into_iter()
            .for_each(|session| self.by_session_remove(Some(session)));
    }

    fn by_session_remove(&mut self, session: Option<u32>) {
        if let Some(session) = session {
            self.by_session.remove(&session);
        }
    }
}

/// The sender's address as the cookies know it.
fn remote(from: SocketAddr) -> [u8; 18] {
    super::locals::remote(from)
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

/// IPv4 addresses that came through an IPv6 socket are IPv4 addresses.
pub(super) fn canonical(from: SocketAddr) -> SocketAddr {
    match from.ip() {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => SocketAddr::new(mapped.into(), from.port()),
            None => from,
        },
        IpAddr::V4(_) => from,
    }
}
