//! The hub without its sockets: datagrams, time and orders in, datagrams and connections out.
//!
//! Order of work for one datagram: which door, what kind, who may, which engine, whose address; a step that says no ends it and counts it.
//! A device's packets reach its own stack and nothing else, so there is no way from one device to another.

mod handshakes;
mod orders;
mod packets;
mod turns;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use self::orders::PeerError;
use super::counters::Counters;
use super::locals::Locals;
use super::note::Note;
use super::peer::{Kind, Peer, Started};
use super::{Door, Outlet, enrolment};
use crate::engine::{EntropySource, Now, Ticks};
use crate::keys::PublicKey;
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
