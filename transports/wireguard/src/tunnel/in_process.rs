//! The tunnel whose TCP/IP stack is inside this process: no root, no TUN, no capability.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use smoltcp::wire::Ipv4Packet;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, broadcast, mpsc};

use super::{HandshakeClock, KeySet, LinkNote, TunnelConfig, TunnelError, TunnelStats};
use crate::engine::{Now, Ticks, UnusableKey};
use crate::entropy::Os;
use crate::limits;
use crate::link::{Input, Link, Output};
use crate::socket::{Clock, bind, send};
use crate::stack::{Buffers, Owner, Ports, Refused, Stack, Stream, StreamId};

/// The handle; the task ends with it.
pub(super) struct InProcess {
    shared: Arc<Shared>,
    _alive: mpsc::Sender<()>,
}

struct Shared {
    me: Weak<Shared>,
    state: Mutex<State>,
    socket: UdpSocket,
    clock: Clock,
    handshakes: Option<HandshakeClock>,
    kick: Notify,
    notes: broadcast::Sender<LinkNote>,
}

struct State {
    link: Link,
    stack: Stack,
    hub: SocketAddr,
    address: Ipv4Addr,
    hub_address: Ipv4Addr,
    ports: Ports,
    listeners: BTreeMap<u16, mpsc::Sender<Stream>>,
    waiting: VecDeque<Vec<u8>>,
}

impl InProcess {
    pub(super) fn open(
        config: TunnelConfig,
        handshakes: Option<HandshakeClock>,
    ) -> Result<Self, TunnelError> {
        let any: SocketAddr = match config.hub {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = bind(any).map_err(TunnelError::Socket)?;
        let clock = Clock::start();
        let now = clock.now();
        let mut seed = [0; 8];
        crate::entropy::fill(&mut seed);
        let state = State {
            link: Link::new(now, config.keys, config.pending, config.keep_alive)?,
            stack: Stack::new(config.address, u64::from_le_bytes(seed), now.ticks),
            hub: config.hub,
            address: config.address,
            hub_address: config.hub_address,
            ports: Ports::new(),
            listeners: BTreeMap::new(),
            waiting: VecDeque::new(),
        };
        let shared = Arc::new_cyclic(|me| Shared {
            me: Weak::clone(me),
            state: Mutex::new(state),
            socket,
            clock,
            handshakes,
            kick: Notify::new(),
            notes: broadcast::Sender::new(limits::NOTES),
        });
        let (alive, gone) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&shared).run(gone));
        Ok(Self {
            shared,
            _alive: alive,
        })
    }

    pub(super) async fn dial(&self, port: u16, buffers: Buffers) -> io::Result<Stream> {
        let mut outcome = Err(Refused::NoPort);
        self.shared
            .work(|state, _| outcome = state.stack.connect(state.hub_address, port, buffers));
        let socket = outcome.map_err(|refused| match refused {
            Refused::TooMany => io::ErrorKind::QuotaExceeded,
            Refused::NoPort => io::ErrorKind::InvalidInput,
        })?;
        let owner: Arc<dyn Owner> = Arc::clone(&self.shared) as _;
        let stream = Stream::new(
            owner,
            StreamId {
                peer: 0,
                life: 0,
                socket,
            },
        );
        stream.connected().await?;
        Ok(stream)
    }

    pub(super) fn listen(&self, port: u16, buffers: Buffers) -> io::Result<mpsc::Receiver<Stream>> {
        let mut state = self.shared.lock();
        if state
            .listeners
            .get(&port)
            .is_some_and(|queue| !queue.is_closed())
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (queue, arrivals) = mpsc::channel(limits::STREAMS_PER_DEVICE);
        state.listeners.insert(port, queue);
        state.ports.insert(port, buffers);
        Ok(arrivals)
    }

    pub(super) fn offer_keys(&self, keys: KeySet) -> Result<(), UnusableKey> {
        let mut outcome = Ok(());
        self.shared
            .work(|state, now| outcome = state.link.offer(now, keys));
        outcome
    }

    pub(super) fn move_hub(&self, hub: SocketAddr) {
        self.shared.work(|state, now| {
            state.hub = hub;
            state.link.moved(now);
        });
    }

    pub(super) fn network_changed(&self) {
        self.shared.work(|state, now| state.link.moved(now));
    }

    pub(super) fn stats(&self) -> TunnelStats {
        let now = self.shared.clock.now().ticks;
        let state = self.shared.lock();
        let link = state.link.stats();
        TunnelStats {
            hub: state.hub,
            last_handshake: link
                .last_handshake
                .map(|at| Duration::from_nanos(now.since(at))),
            received: link.received,
            sent: link.sent,
            dropped: link.dropped,
            keep_alive_s: link.keep_alive_s,
        }
    }

    pub(super) fn notes(&self) -> broadcast::Receiver<LinkNote> {
        self.shared.notes.subscribe()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the tunnel")
    }

    fn now(&self) -> Now {
        let now = self.clock.now();
        match &self.handshakes {
            Some(handshakes) => handshakes.at(now.ticks),
            None => now,
        }
    }

    async fn run(self: Arc<Self>, mut gone: mpsc::Receiver<()>) {
        let mut buffer = Box::new([0; limits::DATAGRAM]);
        self.work(|_, _| {});
        loop {
            let wake = self.lock().wake(self.clock.now().ticks);
            tokio::select! {
                // An error of the socket shows again at the read.
                _ = self.socket.readable() => self.read(&mut buffer),
                () = tokio::time::sleep_until(self.clock.instant(wake).into()) => self.work(|_, _| {}),
                () = self.kick.notified() => {}
                _ = gone.recv() => return,
            }
        }
    }

    fn read(&self, buffer: &mut [u8; limits::DATAGRAM]) {
        self.work(|state, now| {
            for _ in 0..limits::DATAGRAMS_PER_TURN {
                match self.socket.try_recv_from(buffer) {
                    Ok((length, from)) => state.receive(now, from, &buffer[..length], &self.socket),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A refusal that came back for something sent earlier.
                    Err(_) => {}
                }
            }
        });
    }

    /// Runs `work`, then sends what came of it and hands out what arrived.
    fn work(&self, work: impl FnOnce(&mut State, Now)) {
        let now = self.now();
        let mut state = self.lock();
        let before = state.wake(now.ticks);
        work(&mut state, now);
        state.settle(now, &self.socket);
        let unwanted = self.hand_out(&mut state);
        while let Some(note) = state.link.note() {
            // Nobody has to listen.
            let _ = self.notes.send(note);
        }
        let sooner = state.wake(now.ticks) < before;
        drop(state);
        // Dropping a connection takes the lock again.
        drop(unwanted);
        if sooner {
            self.kick.notify_one();
        }
    }

    fn hand_out(&self, state: &mut State) -> Vec<Stream> {
        let mut unwanted = Vec::new();
        while let Some((socket, port)) = state.stack.accept() {
            let Some(owner) = self.me.upgrade() else {
                continue;
            };
            let stream = Stream::new(
                owner,
                StreamId {
                    peer: 0,
                    life: 0,
                    socket,
                },
            );
            match state.listeners.get(&port) {
                Some(queue) => unwanted.extend(
                    queue
                        .try_send(stream)
                        .err()
                        .map(|refused| refused.into_inner()),
                ),
                None => unwanted.push(stream),
            }
        }
        unwanted
    }
}

impl Owner for Shared {
    fn with_stack(&self, _: StreamId, work: &mut dyn FnMut(&mut Stack)) -> bool {
        self.work(|state, _| work(&mut state.stack));
        true
    }
}

impl State {
    /// When something is due by itself; never in the past, so that a timer that cannot be served does not spin.
    fn wake(&mut self, now: Ticks) -> Ticks {
        let link = self.link.wake();
        let due = self.stack.wake(now).map_or(link, |stack| stack.min(link));
        due.max(now)
    }

    fn receive(&mut self, now: Now, from: SocketAddr, datagram: &[u8], socket: &UdpSocket) {
        let mut buffer = [0; limits::DATAGRAM];
        match self.link.receive(now, datagram, &mut buffer, &mut Os) {
            Input::Packet(packet) => {
                self.hub = from;
                if for_us(packet, self.hub_address, self.address) {
                    self.stack.receive(now.ticks, packet.to_vec(), &self.ports);
                }
            }
            Input::Alive | Input::Established => self.hub = from,
            Input::Reply(wire) => {
                send(socket, from, wire);
            }
            Input::Ignored => {}
        }
    }

    fn settle(&mut self, now: Now, socket: &UdpSocket) {
        self.ports.retain(|port, _| {
            self.listeners
                .get(port)
                .is_some_and(|queue| !queue.is_closed())
        });
        let mut buffer = [0; limits::DATAGRAM];
        while let Some(length) = self.link.poll(now, &mut buffer, &mut Os) {
            send(socket, self.hub, &buffer[..length]);
        }
        for packet in std::mem::take(&mut self.waiting) {
            self.send(now, packet, socket);
        }
        self.stack.poll(now.ticks);
        while let Some(packet) = self.stack.emit() {
            self.send(now, packet, socket);
        }
    }

    fn send(&mut self, now: Now, packet: Vec<u8>, socket: &UdpSocket) {
        let mut buffer = [0; limits::DATAGRAM];
        let wire = match self.link.send(now, &packet, &mut buffer, &mut Os) {
            Output::Datagram(wire) => Some(wire),
            Output::Wait(wire) => {
                if self.waiting.len() >= limits::WAITING_PACKETS {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(packet);
                wire
            }
        };
        if let Some(wire) = wire {
            send(socket, self.hub, wire);
        }
    }
}

/// The hub speaks only for itself, and only to us.
fn for_us(packet: &[u8], hub: Ipv4Addr, device: Ipv4Addr) -> bool {
    Ipv4Packet::new_checked(packet)
        .is_ok_and(|packet| packet.src_addr() == hub && packet.dst_addr() == device)
}
