//! One device, or one guest that enrols: its keys, its paths and its stack.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use super::accepted::Accepted;
use super::path::{Keys, Path};
use super::{Door, Outlet};
use crate::engine::{EntropySource, Now, Ticks, UnusableKey};
use crate::keys::{PresharedKey, PublicKey, SecretKey};
use crate::limits;
use crate::ping::Ping;
use crate::stack::Stack;

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Registered.
    Device,
    /// On the enrolment port; gone at that instant.
    Guest { until: Ticks, proved: bool },
}

pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) address: Ipv4Addr,
    pub(super) devices: Accepted<PublicKey>,
    pub(super) shared: Accepted<PresharedKey>,
    paths: Vec<Path>,
    next_path: u32,
    /// The number of the path that packets leave by: the last one that proved itself.
    pub(super) active: Option<u32>,
    /// Where its last authenticated packet came from, and the door it came in by.
    pub(super) endpoint: Option<(Door, SocketAddr)>,
    pub(super) stack: Option<Box<Stack>>,
    /// Which life of the stack this is; connections of an earlier one are over.
    pub(super) life: u64,
    waiting: VecDeque<Vec<u8>>,
    /// When to echo a probe, and its nonce.
    pub(super) echo: Option<(Ticks, u32)>,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// When the timers look at this peer next.
    pub(super) wake: Option<Ticks>,
}

/// A datagram that must be counted under a new session number before it goes out.
pub(super) struct Started {
    pub(super) path: u32,
    pub(super) session: u32,
    pub(super) freed: Option<u32>,
}

impl Peer {
    pub(super) fn new(
        kind: Kind,
        address: Ipv4Addr,
        device: PublicKey,
        shared: PresharedKey,
    ) -> Self {
        let wake = match kind {
            Kind::Device => None,
            Kind::Guest { until, .. } => Some(until),
        };
        Self {
            kind,
            address,
            devices: Accepted::new(device),
            shared: Accepted::new(shared),
            paths: Vec::new(),
            next_path: 0,
            active: None,
            endpoint: None,
            stack: None,
            life: 0,
            waiting: VecDeque::new(),
            echo: None,
            received: 0,
            sent: 0,
            wake,
        }
    }

    pub(super) fn path(&mut self, number: u32) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.number == number)
    }

    pub(super) fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The stack, made when it is first needed, and which life of it this is.
    pub(super) fn stack_mut(
        &mut self,
        hub: Ipv4Addr,
        now: Ticks,
        chance: &mut dyn EntropySource,
    ) -> (u64, &mut Stack) {
        if self.stack.is_none() {
            self.life += 1;
        }
        let stack = self
            .stack
            .get_or_insert_with(|| Box::new(Stack::new(hub, seed(chance), now)));
        (self.life, stack)
    }

    /// The path for these keys, made when it is first needed.
    pub(super) fn path_for(
        &mut self,
        hub: &SecretKey,
        keys: Keys,
    ) -> Result<&mut Path, UnusableKey> {
        let found = self.paths.iter().position(|path| path.keys == keys);
        let at = match found {
            Some(at) => at,
            None => {
                self.paths.push(Path::new(self.next_path, hub, keys)?);
                self.next_path += 1;
                self.paths.len() - 1
            }
        };
        Ok(&mut self.paths[at])
    }

    /// Drops the paths that `keep` does not want; returns their session numbers.
    pub(super) fn retain_paths(&mut self, keep: impl Fn(&Path) -> bool) -> Vec<u32> {
        let mut freed = Vec::new();
        self.paths.retain(|path| {
            let kept = keep(path);
            if !kept {
                freed.extend(path.sessions.iter());
            }
            kept
        });
        if self
            .active
            .is_some_and(|active| self.path(active).is_none())
        {
            self.active = None;
        }
        freed
    }

    /// Sends an inner packet, or keeps it until the handshake that it needs is done.
    pub(super) fn send(
        &mut self,
        now: Now,
        packet: Vec<u8>,
        outlet: &mut dyn Outlet,
        chance: &mut dyn EntropySource,
    ) -> Option<Started> {
        use wireguard_sans_io::Encapsulated;
        let mut buffer = [0; limits::DATAGRAM];
        let (active, endpoint) = (self.active, self.endpoint);
        let Some((door, to)) = endpoint else {
            return self.wait(packet);
        };
        let Some(path) = self
            .paths
            .iter_mut()
            .find(|path| Some(path.number) == active)
        else {
            return self.wait(packet);
        };
        match path.engine.encapsulate(now, &packet, &mut buffer, chance) {
            Ok(Encapsulated::Transport(wire)) => {
                outlet.send(door, to, wire);
                self.sent += packet.len() as u64;
                None
            }
            Ok(Encapsulated::HandshakeInitiation(wire)) => {
                let started = start(path, wire, |wire| outlet.send(door, to, wire));
                self.wait(packet);
                started
            }
            Err(_) => self.wait(packet),
        }
    }

    /// What had to wait for a handshake.
    pub(super) fn take_waiting(&mut self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.waiting)
    }

    fn wait(&mut self, packet: Vec<u8>) -> Option<Started> {
        if self.waiting.len() >= limits::WAITING_PACKETS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(packet);
        None
    }

    /// Does what the engines' timers ask for.
    pub(super) fn poll_engines(
        &mut self,
        now: Now,
        outlet: &mut dyn Outlet,
        chance: &mut dyn EntropySource,
    ) -> Vec<Started> {
        use wireguard_sans_io::{PollOutput, SendReason};
        let mut buffer = [0; limits::DATAGRAM];
        let mut started = Vec::new();
        for path in &mut self.paths {
            while let Ok(output) = path.engine.poll(now, &mut buffer, chance) {
                match output {
                    PollOutput::Send(
                        wire,
                        SendReason::Keepalive | SendReason::PersistentKeepalive,
                    ) => {
                        if let Some((door, to)) = self.endpoint {
                            outlet.send(door, to, wire);
                        }
                    }
                    PollOutput::Send(
                        wire,
                        SendReason::HandshakeInitiation | SendReason::HandshakeRetransmit,
                    ) => {
                        // A path that is not in use any more has nobody to answer it.
                        if let Some((door, to)) =
                            self.endpoint.filter(|_| self.active == Some(path.number))
                        {
                            started.extend(start(path, wire, |wire| outlet.send(door, to, wire)));
                        }
                    }
                    PollOutput::HandshakeExpired | PollOutput::SessionsExpired => {}
                    PollOutput::Idle => break,
                }
            }
        }
        started
    }

    /// Answers a probe whose silence is over.
    pub(super) fn echo(&mut self, now: Ticks, outlet: &mut dyn Outlet) {
        let (Some((_, nonce)), Some((door, to))) =
            (self.echo.filter(|(at, _)| *at <= now), self.endpoint)
        else {
            return;
        };
        self.echo = None;
        outlet.send(door, to, &Ping::Echo { nonce }.encode());
    }

    /// When something is due by itself.
    pub(super) fn due(&mut self, now: Ticks) -> Option<Ticks> {
        let engines = self.paths.iter().filter_map(|path| path.engine.next_wake());
        let stack = self.stack.as_mut().and_then(|stack| stack.wake(now));
        let leaves = match self.kind {
            Kind::Device => None,
            Kind::Guest { until, .. } => Some(until),
        };
        let echo = self.echo.map(|(at, _)| at);
        engines.chain(stack).chain(leaves).chain(echo).min()
    }
}

/// Sends an initiation and notes its session number.
fn start(path: &mut Path, wire: &[u8], send: impl FnOnce(&[u8])) -> Option<Started> {
    let session = super::path::sender(wire)?;
    send(wire);
    Some(Started {
        path: path.number,
        session,
        freed: path.sessions.initiated(session),
    })
}

/// Without randomness the sequence numbers are guessable, by the device alone: nobody else reaches this stack.
fn seed(chance: &mut dyn EntropySource) -> u64 {
    let mut seed = [0; 8];
    let _ = chance.fill(&mut seed);
    u64::from_le_bytes(seed)
}
