//! The hub's sockets, its one task, and the connections' way back into it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, broadcast, mpsc};

use super::acceptor::{Acceptor, Queue};
use super::exchange::{Exchange, canonical};
use super::peer::Peer;
use super::{Door, Guest, HubConfig, HubError, Note, Outlet, PeerStats};
use crate::Stream;
use crate::engine::Now;
use crate::entropy::Os;
use crate::limits;
use crate::socket::{Clock, bind, send};
use crate::stack::{self, Buffers, Owner, Refused, Stack, StreamId};

/// Which tunnels end in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// All of them.
    Every,
    /// Those of devices that enrol; the others are interfaces of the system.
    Enrolment,
}

pub(super) struct Shared {
    me: Weak<Shared>,
    state: Mutex<State>,
    sockets: Sockets,
    clock: Clock,
    /// The first timer may have changed.
    kick: Notify,
    notes: broadcast::Sender<Note>,
}

struct State {
    exchange: Exchange,
    listeners: HashMap<u16, Queue<Ipv4Addr>>,
    guest_listeners: HashMap<u16, Queue<Guest>>,
}

/// The exchange, locked.
pub(super) struct Locked<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Locked<'_> {
    type Target = Exchange;
    fn deref(&self) -> &Exchange {
        &self.0.exchange
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Exchange {
        &mut self.0.exchange
    }
}

struct Sockets {
    fleet: Option<UdpSocket>,
    enrolment: Option<UdpSocket>,
}

impl Sockets {
    fn door(&self, door: Door) -> Option<&UdpSocket> {
        match door {
            Door::Fleet => self.fleet.as_ref(),
            Door::Enrolment => self.enrolment.as_ref(),
        }
    }

    async fn readable(&self, door: Door) {
        match self.door(door) {
            // An error of the socket shows again at the read.
            Some(socket) => drop(socket.ready(Interest::READABLE).await),
            None => std::future::pending().await,
        }
    }
}

/// Sends at once or not at all, as a wire does.
struct Wire<'a> {
    sockets: &'a Sockets,
    unsent: u64,
}

impl Outlet for Wire<'_> {
    fn send(&mut self, door: Door, to: SocketAddr, datagram: &[u8]) {
        let sent = self.sockets.door(door).is_some_and(|socket| {
            let to = match (to, socket.local_addr()) {
                (SocketAddr::V4(v4), Ok(SocketAddr::V6(_))) => {
                    (v4.ip().to_ipv6_mapped(), v4.port()).into()
                }
                _ => to,
            };
            send(socket, to, datagram)
        });
        self.unsent += u64::from(!sent);
    }
}

impl Shared {
    /// Opens the ports; the one for devices that are registered only if their tunnels end here.
    pub(super) fn open(config: &HubConfig, ends_here: Ends) -> Result<Arc<Self>, HubError> {
        let open = |address| bind(address).map_err(|source| HubError::Listen { address, source });
        let fleet = match ends_here {
            Ends::Every => Some(open(config.listen)?),
            Ends::Enrolment => None,
        };
        let enrolment = config.enrolment.map(open).transpose()?;
        let state = State {
            exchange: Exchange::new(config.address, config.guest_address, Box::new(Os)),
            listeners: HashMap::new(),
            guest_listeners: HashMap::new(),
        };
        Ok(Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            state: Mutex::new(state),
            sockets: Sockets { fleet, enrolment },
            clock: Clock::start(),
            kick: Notify::new(),
            notes: broadcast::Sender::new(limits::NOTES),
        }))
    }

    pub(super) fn exchange(&self) -> Locked<'_> {
        Locked(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the exchange")
    }

    /// Serves the ports until the last handle is gone.
    pub(super) async fn run(self: Arc<Self>, mut gone: mpsc::Receiver<()>) {
        let mut buffer = Box::new([0; limits::DATAGRAM]);
        loop {
            let wake = self.lock().exchange.wake();
            tokio::select! {
                () = self.sockets.readable(Door::Fleet) => self.read(Door::Fleet, &mut buffer),
                () = self.sockets.readable(Door::Enrolment) => self.read(Door::Enrolment, &mut buffer),
                () = self.sleep(wake) => self.expire(),
                () = self.kick.notified() => {}
                _ = gone.recv() => return,
            }
        }
    }

    async fn sleep(&self, until: Option<crate::Ticks>) {
        match until {
            Some(ticks) => tokio::time::sleep_until(self.clock.instant(ticks).into()).await,
            None => std::future::pending().await,
        }
    }

    fn read(&self, door: Door, buffer: &mut [u8; limits::DATAGRAM]) {
        let Some(socket) = self.sockets.door(door) else {
            return;
        };
        let now = self.clock.now();
        let mut touched = Vec::with_capacity(limits::DATAGRAMS_PER_TURN);
        self.work(|exchange, wire| {
            for _ in 0..limits::DATAGRAMS_PER_TURN {
                let (length, from) = match socket.try_recv_from(buffer) {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A refusal that came back for something sent earlier.
                    Err(_) => continue,
                };
                let id = exchange.receive(now, door, canonical(from), &buffer[..length], wire);
                touched.extend(id.filter(|id| touched.last() != Some(id)));
            }
            touched.sort_unstable();
            touched.dedup();
            for id in touched {
                exchange.settle(now, id, wire);
            }
        });
    }

    fn expire(&self) {
        let now = self.clock.now();
        self.work(|exchange, wire| exchange.expire(now, wire));
    }

    /// Runs `work`, then hands out what came of it.
    fn work(&self, work: impl FnOnce(&mut Exchange, &mut dyn Outlet)) {
        let mut state = self.lock();
        let before = state.exchange.wake();
        let mut wire = Wire {
            sockets: &self.sockets,
            unsent: 0,
        };
        work(&mut state.exchange, &mut wire);
        state.exchange.counters.unsent += wire.unsent;
        for note in std::mem::take(&mut state.exchange.notes) {
            // Nobody has to listen.
            let _ = self.notes.send(note);
        }
        let unwanted = self.hand_out(&mut state);
        let sooner = state
            .exchange
            .wake()
            .is_some_and(|wake| before.is_none_or(|before| wake < before));
        drop(state);
        // Dropping a connection takes the lock again.
        drop(unwanted);
        if sooner {
            self.kick.notify_one();
        }
    }

    /// Gives what arrived to the listeners; returns what nobody takes.
    fn hand_out(&self, state: &mut State) -> Vec<Stream> {
        let mut unwanted = Vec::new();
        for arrival in std::mem::take(&mut state.exchange.arrivals) {
            let Some(owner) = self.me.upgrade() else {
                continue;
            };
            let stream = Stream::of_stack(stack::Stream::new(owner, arrival.stream));
            let guest = state.exchange.guests.keys(arrival.peer);
            let refused = match (
                guest,
                state.exchange.peer(arrival.peer).map(|peer| peer.address),
            ) {
                (Some((hub_key, key)), _) => offer(
                    &state.guest_listeners,
                    arrival.port,
                    stream,
                    Guest { key, hub_key },
                ),
                (None, Some(address)) => offer(&state.listeners, arrival.port, stream, address),
                (None, None) => Some(stream),
            };
            unwanted.extend(refused);
        }
        unwanted
    }

    pub(super) fn local_address(&self, door: Door) -> io::Result<SocketAddr> {
        self.sockets
            .door(door)
            .ok_or(io::ErrorKind::NotFound)?
            .local_addr()
    }

    pub(super) fn has_enrolment(&self) -> bool {
        self.sockets.enrolment.is_some()
    }

    pub(super) fn notes(&self) -> broadcast::Receiver<Note> {
        self.notes.subscribe()
    }

    pub(super) fn listen(
        &self,
        port: u16,
        buffers: Buffers,
    ) -> Result<Acceptor<Ipv4Addr>, HubError> {
        let mut state = self.lock();
        if state
            .listeners
            .get(&port)
            .is_some_and(|queue| !queue.is_closed())
        {
            return Err(HubError::PortTaken(port));
        }
        let (queue, arrivals) = mpsc::channel(limits::BACKLOG);
        state.listeners.insert(port, queue);
        state.exchange.ports.insert(port, buffers);
        let close = self.closer(move |state| {
            state.exchange.ports.remove(&port);
        });
        Ok(Acceptor::new(arrivals, close))
    }

    pub(super) fn listen_for_guests(
        &self,
        port: u16,
        buffers: Buffers,
    ) -> Result<Acceptor<Guest>, HubError> {
        let mut state = self.lock();
        if state
            .guest_listeners
            .get(&port)
            .is_some_and(|queue| !queue.is_closed())
        {
            return Err(HubError::PortTaken(port));
        }
        let (queue, arrivals) = mpsc::channel(limits::BACKLOG);
        state.guest_listeners.insert(port, queue);
        state.exchange.guest_ports.insert(port, buffers);
        let close = self.closer(move |state| {
            state.exchange.guest_ports.remove(&port);
        });
        Ok(Acceptor::new(arrivals, close))
    }

    fn closer(
        &self,
        close: impl FnOnce(&mut State) + Send + Sync + 'static,
    ) -> impl FnOnce() + Send + Sync + 'static {
        let me = Weak::clone(&self.me);
        move || {
            if let Some(shared) = me.upgrade() {
                close(&mut shared.lock());
            }
        }
    }

    pub(super) fn connect(
        &self,
        device: Ipv4Addr,
        port: u16,
        buffers: Buffers,
    ) -> io::Result<stack::Stream> {
        let owner: Arc<dyn Owner> = self.me.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let now = self.clock.now();
        let mut outcome = Err(io::ErrorKind::NotFound.into());
        self.work(|exchange, wire| {
            let Some(id) = exchange.id(device) else {
                return;
            };
            let Some((life, stack)) = exchange.stack(now, id) else {
                return;
            };
            outcome = stack
                .connect(device, port, buffers)
                .map_err(refusal)
                .map(|socket| StreamId {
                    peer: id,
                    life,
                    socket,
                });
            exchange.settle(now, id, wire);
        });
        outcome.map(|id| stack::Stream::new(owner, id))
    }

    pub(super) fn stats(&self, address: Ipv4Addr) -> Option<PeerStats> {
        let now = self.clock.now();
        let exchange = self.exchange();
        exchange
            .peer(exchange.id(address)?)
            .map(|peer| stats(now, peer))
    }

    pub(super) fn all_stats(&self) -> Vec<PeerStats> {
        let now = self.clock.now();
        self.exchange()
            .devices()
            .map(|peer| stats(now, peer))
            .collect()
    }
}

impl Owner for Shared {
    fn with_stack(&self, stream: StreamId, work: &mut dyn FnMut(&mut Stack)) -> bool {
        let now = self.clock.now();
        let mut there = false;
        self.work(|exchange, wire| {
            let Some(stack) = exchange.stack_of(stream) else {
                return;
            };
            there = true;
            work(stack);
            exchange.settle(now, stream.peer, wire);
        });
        there
    }
}

fn offer<T>(
    listeners: &HashMap<u16, Queue<T>>,
    port: u16,
    stream: Stream,
    from: T,
) -> Option<Stream> {
    let Some(queue) = listeners.get(&port) else {
        return Some(stream);
    };
    queue
        .try_send((stream, from))
        .err()
        .map(|refused| refused.into_inner().0)
}

fn refusal(refused: Refused) -> io::Error {
    match refused {
        Refused::TooMany => io::ErrorKind::QuotaExceeded.into(),
        Refused::NoPort => io::ErrorKind::InvalidInput.into(),
    }
}

fn stats(now: Now, peer: &Peer) -> PeerStats {
    let active = peer
        .paths()
        .iter()
        .find(|path| Some(path.number) == peer.active);
    let last = peer
        .paths()
        .iter()
        .filter_map(|path| path.last_handshake)
        .max();
    PeerStats {
        address: peer.address,
        key: *peer.devices.current(),
        offered_key: peer.devices.next().copied(),
        hub_key: active.map(|path| path.keys.hub),
        endpoint: peer.endpoint.map(|(_, endpoint)| endpoint),
        last_handshake: last.map(|at| std::time::Duration::from_nanos(now.ticks.since(at))),
        received: peer.received,
        sent: peer.sent,
    }
}
