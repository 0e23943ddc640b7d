//! The UDP socket under a tunnel, and the clocks of this machine.

use std::io;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use crate::engine::Now;
use crate::limits;

/// A socket with room for bursts. One on `[::]` takes IPv4 too.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel grants what its limit allows; less is slower under load, and no error.
    let _ = socket.set_recv_buffer_size(limits::SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(limits::SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Sends at once or not at all, as a wire does; whether the runtime has noticed yet that the socket is writable does not matter.
pub(crate) fn send(socket: &UdpSocket, to: SocketAddr, datagram: &[u8]) -> bool {
    SockRef::from(socket).send_to(datagram, &to.into()).is_ok()
}

/// Reads the monotonic clock, from its own zero, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let elapsed = u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now::new(elapsed, wall.as_secs(), wall.subsec_nanos())
    }

    /// The instant of this machine that `ticks` stands for.
    pub(crate) fn instant(&self, ticks: crate::Ticks) -> Instant {
        self.0 + std::time::Duration::from_nanos(ticks.nanos())
    }
}
