//! The hub and devices in a simulated network: a clock that jumps, NATs that forget, links that lose, repeat and reorder. Seeded, so that a failure replays.

mod acts;
mod attacks;
mod enrolling;
mod idle;
mod roaming;
mod rotation;
mod wires;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use smoltcp::iface::SocketHandle;
use wireguard_sans_io::testing::DeterministicRng;

use super::exchange::{Arrival, Exchange};
use super::locals::Purpose;
use super::{Door, Outlet};
use crate::engine::{EntropySource, Now, Ticks};
use crate::keys::{PresharedKey, PublicKey, SecretKey};
use crate::limits;
use crate::link::{Input, KeepAlive, KeySet, Link, LinkNote, Output};
use crate::stack::{Buffers, Ports, Stack, StreamId};

const SECOND: u64 = 1_000_000_000;
const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 254);
const LATENCY_NS: u64 = 20_000_000;

/// What the network does to datagrams.
#[derive(Clone, Copy, Default)]
struct Weather {
    lost_percent: u32,
    twice_percent: u32,
    /// A datagram may be so much late, and so behind later ones.
    late_ns: u64,
}

/// A NAT in front of one device.
struct Nat {
    forgets_ns: u64,
    port: u16,
    used: Option<Ticks>,
}

struct Device {
    link: Link,
    stack: Stack,
    ports: Ports,
    address: Ipv4Addr,
    host: Ipv4Addr,
    door: Door,
    nat: Option<Nat>,
    waiting: VecDeque<Vec<u8>>,
    notes: Vec<LinkNote>,
    /// Datagrams and their bytes with UDP and IPv4 headers, sent and received.
    datagrams: u64,
    bytes: u64,
    off: bool,
}

struct Datagram {
    to_hub: bool,
    door: Door,
    /// The device's end as the hub sees it.
    outside: SocketAddr,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Sent(Vec<(Door, SocketAddr, Vec<u8>)>);

impl Outlet for Sent {
    fn send(&mut self, door: Door, to: SocketAddr, datagram: &[u8]) {
        self.0.push((door, to, datagram.to_vec()));
    }
}

struct World {
    now: Ticks,
    hub: Exchange,
    devices: Vec<Device>,
    arrivals: Vec<Arrival>,
    wires: BTreeMap<(Ticks, u64), Datagram>,
    sequence: u64,
    weather: Weather,
    chance: DeterministicRng,
    /// Sends every datagram to the hub here too.
    overheard: Option<Vec<(Door, SocketAddr, Vec<u8>)>>,
    next_port: u16,
    /// Number of the datagram that gets lost, counted from now.
    lose: Option<u64>,
    /// The hub answers no keep-alives, as an interface does not.
    mute: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut hub = Exchange::new(HUB, GUEST, Box::new(DeterministicRng::new(seed)));
        hub.locals.add(secret(1), Purpose::Fleet);
        hub.ports.insert(80, Buffers::default());
        Self {
            now: Ticks::ZERO,
            hub,
            devices: Vec::new(),
            arrivals: Vec::new(),
            wires: BTreeMap::new(),
            sequence: 0,
            weather: Weather::default(),
            chance: DeterministicRng::new(seed + 1),
            overheard: None,
            next_port: 20_000,
            lose: None,
            mute: false,
        }
    }

    fn clock(&self) -> Now {
        Now::new(
            self.now.nanos(),
            1_750_000_000 + self.now.nanos() / SECOND,
            (self.now.nanos() % SECOND) as u32,
        )
    }

    /// A device that the hub knows.
    fn device(&mut self, n: u8) -> usize {
        let keys = keys(n);
        let address = Ipv4Addr::new(10, 77, 1, n);
        self.hub
            .add(address, keys.secret.public(), keys.preshared.clone())
            .unwrap();
        self.bring(n, address, Door::Fleet, keys)
    }

    /// A device, known or not.
    fn bring(&mut self, n: u8, address: Ipv4Addr, door: Door, keys: KeySet) -> usize {
        let link = Link::new(self.clock(), keys, None, KeepAlive::Learned).unwrap();
        self.devices.push(Device {
            link,
            stack: Stack::new(address, u64::from(n), self.now),
            ports: Ports::from([(22, Buffers::default())]),
            address,
            host: Ipv4Addr::new(192, 0, 2, n),
            door,
            nat: None,
            waiting: VecDeque::new(),
            notes: Vec::new(),
            datagrams: 0,
            bytes: 0,
            off: false,
        });
        self.devices.len() - 1
    }

    fn random(&mut self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.chance.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % below.max(1)
    }

    fn at_device(&mut self, n: usize, bytes: &[u8]) {
        let now = self.clock();
        let mut buffer = [0; limits::DATAGRAM];
        let device = &mut self.devices[n];
        let mut reply = None;
        match device
            .link
            .receive(now, bytes, &mut buffer, &mut self.chance)
        {
            Input::Packet(packet) => {
                device
                    .stack
                    .receive(now.ticks, packet.to_vec(), &device.ports)
            }
            Input::Reply(wire) => reply = Some(wire.to_vec()),
            Input::Established | Input::Alive | Input::Ignored => {}
        }
        if let Some(reply) = reply {
            self.send_to_hub(n, reply);
        }
        self.settle_device(n);
    }

    fn settle_device(&mut self, n: usize) {
        let now = self.clock();
        let mut out = Vec::new();
        let mut buffer = [0; limits::DATAGRAM];
        let device = &mut self.devices[n];
        while let Some(length) = device.link.poll(now, &mut buffer, &mut self.chance) {
            out.push(buffer[..length].to_vec());
        }
        device.stack.poll(now.ticks);
        let mut packets = std::mem::take(&mut device.waiting);
        while let Some(packet) = device.stack.emit() {
            packets.push_back(packet);
        }
        for packet in packets {
            match device
                .link
                .send(now, &packet, &mut buffer, &mut self.chance)
            {
                Output::Datagram(wire) => out.push(wire.to_vec()),
                Output::Wait(wire) => {
                    out.extend(wire.map(<[u8]>::to_vec));
                    device.waiting.push_back(packet);
                }
            }
        }
        device.waiting.truncate(limits::WAITING_PACKETS);
        while let Some(note) = device.link.note() {
            device.notes.push(note);
        }
        for wire in out {
            self.send_to_hub(n, wire);
        }
    }

    /// When anything happens next.
    fn next(&mut self) -> Ticks {
        let now = self.now;
        let wires = self.wires.keys().next().map(|(at, _)| *at);
        let devices = self
            .devices
            .iter_mut()
            .filter(|device| !device.off)
            .map(|device| {
                let link = device.link.wake();
                device.stack.wake(now).map_or(link, |stack| stack.min(link))
            });
        // Millisecond steps, as a timer has them, so that nothing spins.
        let timers = devices
            .chain(self.hub.wake())
            .min()
            .map(|at| Ticks::from_nanos(at.nanos().max(now.nanos() + 1_000_000)));
        wires
            .into_iter()
            .chain(timers)
            .min()
            .unwrap_or(Ticks::from_nanos(u64::MAX))
    }

    /// Lets the world run until `done`, or for so many seconds; returns whether it was done.
    fn run_until(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now.add_nanos(seconds * SECOND);
        for n in 0..self.devices.len() {
            self.settle_device(n);
        }
        loop {
            if done(self) {
                return true;
            }
            let next = self.next();
            if next > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(next);
            while let Some(first) = self
                .wires
                .first_entry()
                .filter(|first| first.key().0 <= next)
            {
                let datagram = first.remove();
                self.arrive(datagram);
            }
            let now = self.clock();
            let mut sent = Sent::default();
            self.hub.expire(now, &mut sent);
            self.deliver(sent);
            for n in 0..self.devices.len() {
                if !self.devices[n].off {
                    self.settle_device(n);
                }
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        self.run_until(seconds, |_| false);
    }

    fn is_up(&self, device: usize) -> bool {
        let address = self.devices[device].address;
        self.hub
            .id(address)
            .and_then(|id| self.hub.peer(id))
            .is_some_and(|peer| peer.active.is_some())
    }
}

fn secret(n: u8) -> SecretKey {
    SecretKey([n; 32])
}

fn hub_key() -> PublicKey {
    secret(1).public()
}

fn keys(n: u8) -> KeySet {
    KeySet {
        secret: secret(100 + n),
        hub: hub_key(),
        preshared: PresharedKey([n; 32]),
    }
}
