//! TCP over a tunnel, inside the process: one small IP stack for one pair of addresses.
//!
//! A hub gives each device a stack of its own, so nothing that one device sends can reach another's connections, and the cost of a packet does not grow with the number of devices.
//! Sans-I/O: packets go in and come out, the time is an argument.
//! Connections come in only on ports that [`Ports`] opens; everything else is refused.

mod nic;
mod stream;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::task::{Context, Poll};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint, IpProtocol, Ipv4Packet, TcpPacket};

use self::nic::Nic;
pub(crate) use self::stream::Stream;
pub(crate) use self::stream::{Owner, StreamId};
use crate::engine::Ticks;
use crate::limits;

/// A connection is given up when what was sent stays unacknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// Bytes that one TCP connection buffers in each direction; more is faster over long paths, and is paid for by every open connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes received and not yet read.
    pub receive: usize,
    /// Bytes written and not yet acknowledged.
    pub send: usize,
}

impl Buffers {
    /// For thousands of connections that mostly wait: 4 KiB each way.
    pub const SMALL: Self = Self {
        receive: 4 << 10,
        send: 4 << 10,
    };
    /// For moving blobs: 128 KiB each way. More than a UDP socket of the system's default size holds would be lost in bursts, and slower.
    pub const LARGE: Self = Self {
        receive: 128 << 10,
        send: 128 << 10,
    };
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            receive: 64 << 10,
            send: 64 << 10,
        }
    }
}

/// Which ports accept connections, and with which buffers.
pub(crate) type Ports = BTreeMap<u16, Buffers>;

/// Why no connection could be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// [`limits::STREAMS_PER_DEVICE`] are open.
    TooMany,
    /// The port is zero.
    NoPort,
}

pub(crate) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    nic: Nic,
    /// Sockets that a peer's first packet opened and nobody has accepted yet.
    arriving: Vec<(SocketHandle, u16)>,
    /// Sockets that their user let go of, and that still close.
    closing: Vec<SocketHandle>,
    open: Vec<SocketHandle>,
    /// Ends that were closed, and when, until the other end knows.
    ending: Vec<(SocketHandle, Ticks)>,
    next_port: u16,
}

impl Stack {
    pub(crate) fn new(address: Ipv4Addr, seed: u64, now: Ticks) -> Self {
        let mut nic = Nic::new();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut nic, instant(now));
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(address.into(), 32))
                .expect("the list is empty and holds one");
        });
        interface
            .routes_mut()
            .add_default_ipv4_route(address)
            .expect("the table is empty and holds one");
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            nic,
            arriving: Vec::new(),
            closing: Vec::new(),
            open: Vec::new(),
            ending: Vec::new(),
            // The port range for outgoing connections starts anywhere in it, so that a restart does not meet its own old connections.
            next_port: 49152 + (seed % 16384) as u16,
        }
    }

    /// Nothing is open: the stack can be dropped.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.nic.is_empty()
    }

    /// Takes in a packet that came through the tunnel.
    pub(crate) fn receive(&mut self, now: Ticks, packet: Vec<u8>, ports: &Ports) {
        let Some((from, port)) = opening(&packet) else {
            return self.nic.push(packet);
        };
        // A socket listens only for the one packet that opens it, so what waits goes first.
        self.poll(now);
        if let Some(buffers) = ports.get(&port)
            && self.open.len() < limits::STREAMS_PER_DEVICE
            && !self.knows(from, port)
        {
            let mut socket = socket(*buffers);
            socket
                .listen(port)
                .expect("a new socket listens on a port that is not zero");
            let handle = self.sockets.add(socket);
            self.arriving.push((handle, port));
            self.open.push(handle);
        }
        self.nic.push(packet);
        self.poll(now);
    }

    /// Moves packets and timers; what there is to send then waits in [`Self::emit`].
    pub(crate) fn poll(&mut self, now: Ticks) {
        self.have_patience(now);
        self.interface
            .poll(instant(now), &mut self.nic, &mut self.sockets);
        self.forget_closed();
    }

    /// smoltcp ends a connection on which nothing came for so long, whether something was to come or not, and a device may be silent for as long as it likes: so it counts only while something is unacknowledged.
    ///
    /// It would count from long ago for an end that is closed after a silence, and give it no time: that is counted here.
    fn have_patience(&mut self, now: Ticks) {
        use tcp::State::{CloseWait, Closing, Established, FinWait1, LastAck};
        let (sockets, open) = (&mut self.sockets, &self.open);
        self.ending.retain(|(handle, _)| open.contains(handle));
        for handle in open {
            let socket: &mut tcp::Socket<'_> = sockets.get_mut(*handle);
            let is_empty = socket.send_queue() == 0;
            let limit = match socket.state() {
                Established | CloseWait if is_empty => None,
                FinWait1 | Closing | LastAck if is_empty => {
                    let known = self.ending.iter().find(|(other, _)| other == handle);
                    match known {
                        None => self.ending.push((*handle, now)),
                        Some((_, at)) if now.since(*at) >= UNACKNOWLEDGED.total_micros() * 1000 => {
                            socket.abort();
                        }
                        Some(_) => {}
                    }
                    None
                }
                _ => Some(UNACKNOWLEDGED),
            };
            socket.set_timeout(limit);
        }
    }

    /// The next packet to send through the tunnel.
    pub(crate) fn emit(&mut self) -> Option<Vec<u8>> {
        self.nic.pop()
    }

    /// When [`Self::poll`] has something to do, if nothing comes in before.
    pub(crate) fn wake(&mut self, now: Ticks) -> Option<Ticks> {
        if self.open.is_empty() {
            return None;
        }
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        Some(Ticks::from_nanos(
            u64::try_from(at.total_micros())
                .unwrap_or(0)
                .saturating_mul(1000),
        ))
    }

    /// A connection that came in and is ready, with the port it came to.
    pub(crate) fn accept(&mut self) -> Option<(SocketHandle, u16)> {
        let sockets = &self.sockets;
        let ready = self.arriving.iter().position(|(handle, _)| {
            let socket: &tcp::Socket<'_> = sockets.get(*handle);
            matches!(
                socket.state(),
                tcp::State::Established | tcp::State::CloseWait
            )
        })?;
        Some(self.arriving.swap_remove(ready))
    }

    /// Starts a connection.
    pub(crate) fn connect(
        &mut self,
        address: Ipv4Addr,
        port: u16,
        buffers: Buffers,
    ) -> Result<SocketHandle, Refused> {
        if self.open.len() >= limits::STREAMS_PER_DEVICE {
            return Err(Refused::TooMany);
        }
        let mut socket = socket(buffers);
        let local = self.ephemeral_port();
        socket
            .connect(self.interface.context(), (address, port), local)
            .map_err(|_| Refused::NoPort)?;
        let handle = self.sockets.add(socket);
        self.open.push(handle);
        Ok(handle)
    }

    /// Ready once the connection stands (`true`) or has failed (`false`).
    pub(crate) fn poll_connected(&mut self, handle: SocketHandle, cx: &Context<'_>) -> Poll<bool> {
        let socket: &mut tcp::Socket<'_> = self.sockets.get_mut(handle);
        match socket.state() {
            tcp::State::SynSent | tcp::State::SynReceived => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            tcp::State::Closed | tcp::State::TimeWait => Poll::Ready(false),
            _ => Poll::Ready(true),
        }
    }

    pub(crate) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// The user of the connection is gone: close it, and forget it when that is done.
    pub(crate) fn release(&mut self, handle: SocketHandle) {
        self.socket(handle).close();
        self.closing.push(handle);
    }

    /// Resets every connection; their users see an end.
    pub(crate) fn reset_all(&mut self) {
        for handle in &self.open {
            self.sockets.get_mut::<tcp::Socket<'_>>(*handle).abort();
        }
    }

    fn ephemeral_port(&mut self) -> u16 {
        // At most STREAMS_PER_DEVICE ports are taken, so a free one comes soon.
        loop {
            let port = self.next_port;
            self.next_port = if port == u16::MAX { 49152 } else { port + 1 };
            let taken = self
                .tcp()
                .any(|socket| socket.local_endpoint().is_some_and(|end| end.port == port));
            if !taken {
                return port;
            }
        }
    }

    /// A connection between these ends is there already, so the packet repeats its opening.
    fn knows(&self, from: IpEndpoint, port: u16) -> bool {
        self.tcp().any(|socket| {
            socket.remote_endpoint() == Some(from)
                && socket.local_endpoint().is_some_and(|end| end.port == port)
        })
    }

    fn tcp(&self) -> impl Iterator<Item = &tcp::Socket<'static>> {
        self.open.iter().map(|handle| self.sockets.get(*handle))
    }

    fn forget_closed(&mut self) {
        let (sockets, open) = (&mut self.sockets, &mut self.open);
        let mut forget = |handle: SocketHandle, done: fn(&tcp::Socket<'_>) -> bool| {
            let finished = done(sockets.get(handle));
            if finished {
                sockets.remove(handle);
                open.retain(|other| *other != handle);
            }
            finished
        };
        self.closing.retain(|handle| !forget(*handle, over));
        // One that still listens was not opened by the packet it was made for.
        self.arriving
            .retain(|(handle, _)| !forget(*handle, |socket| over(socket) || socket.is_listening()));
    }
}

/// Nothing more is to be sent or received. An aborted socket keeps its remote end until its reset is out.
fn over(socket: &tcp::Socket<'_>) -> bool {
    match socket.state() {
        tcp::State::Closed => socket.remote_endpoint().is_none(),
        state => state == tcp::State::TimeWait,
    }
}

fn socket(buffers: Buffers) -> tcp::Socket<'static> {
    let receive = tcp::SocketBuffer::new(vec![0; buffers.receive]);
    let send = tcp::SocketBuffer::new(vec![0; buffers.send]);
    let mut socket = tcp::Socket::new(receive, send);
    socket.set_timeout(Some(UNACKNOWLEDGED));
    socket.set_nagle_enabled(false);
    socket.set_congestion_control(tcp::CongestionControl::Reno);
    socket
}

/// Whether one host can have the address.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback())
}

/// Who wants to open a connection with this packet, and to which port.
fn opening(packet: &[u8]) -> Option<(IpEndpoint, u16)> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    if ip.next_header() != IpProtocol::Tcp || ip.frag_offset() != 0 {
        return None;
    }
    let segment = TcpPacket::new_checked(ip.payload()).ok()?;
    let opens = segment.syn() && !segment.ack() && !segment.rst() && segment.dst_port() != 0;
    opens.then(|| {
        (
            IpEndpoint::new(ip.src_addr().into(), segment.src_port()),
            segment.dst_port(),
        )
    })
}

fn instant(ticks: Ticks) -> Instant {
    Instant::from_micros(i64::try_from(ticks.nanos() / 1000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
