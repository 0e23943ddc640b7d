//! Connections inside the tunnel: a few sockets that are used again and again.
//!
//! embassy-net wakes its stack with every use of a socket that could change it, and here the stack and who waits for the socket are one task: waiting by asking again would keep the processor busy for ever.
//! So a wait here only looks.
//! That is enough because the stack is polled in the same task, before those who wait for it: whatever it does to a socket is seen in the same turn.

use core::cell::{RefCell, RefMut};
use core::future::poll_fn;
use core::net::SocketAddrV4;
use core::task::Poll;

use embassy_futures::poll_once;
use embassy_net::tcp::{Error, State, TcpSocket};
use embassy_net::{IpAddress, IpEndpoint, Stack};
use embedded_io_async::{ErrorType, Read, Write};
use lightship_link::Unreachable;

use crate::limits::{POST_TCP, TCP_RECEIVE, TCP_SEND, TCP_TIMEOUT};

/// Memory for the sockets.
pub(super) struct Buffers {
    mqtt: ([u8; TCP_RECEIVE], [u8; TCP_SEND]),
    post: ([u8; POST_TCP], [u8; POST_TCP]),
    #[cfg(feature = "http")]
    http: [([u8; TCP_RECEIVE], [u8; TCP_SEND]); 2],
}

impl Buffers {
    pub(super) const fn new() -> Self {
        Self {
            mqtt: ([0; _], [0; _]),
            post: ([0; _], [0; _]),
            #[cfg(feature = "http")]
            http: [([0; _], [0; _]); 2],
        }
    }
}

/// A socket, which is free or lent to one [`Connection`].
pub(super) type Socket<'d> = RefCell<TcpSocket<'d>>;

/// The sockets.
pub(super) struct Sockets<'d> {
    pub(super) mqtt: [Socket<'d>; 1],
    /// For a registration, or logs.
    pub(super) post: [Socket<'d>; 1],
    #[cfg(feature = "http")]
    pub(super) http: [Socket<'d>; 2],
}

impl<'d> Sockets<'d> {
    pub(super) fn new(stack: Stack<'d>, buffers: &'d mut Buffers) -> Self {
        let Buffers { mqtt, post, .. } = buffers;
        Self {
            mqtt: [socket(stack, &mut mqtt.0, &mut mqtt.1)],
            post: [socket(stack, &mut post.0, &mut post.1)],
            #[cfg(feature = "http")]
            http: (buffers.http.each_mut()).map(|(receive, send)| socket(stack, receive, send)),
        }
    }
}

fn socket<'d>(stack: Stack<'d>, receive: &'d mut [u8], send: &'d mut [u8]) -> Socket<'d> {
    let mut socket = TcpSocket::new(stack, receive, send);
    socket.set_timeout(Some(TCP_TIMEOUT));
    RefCell::new(socket)
}

/// Opens a connection with one of these sockets, once one of them is free, if there is a way.
pub(super) async fn connect<'s, 'd>(
    sockets: &'s [Socket<'d>],
    to: Option<SocketAddrV4>,
) -> Result<Connection<'s, 'd>, Unreachable> {
    let to = to.ok_or(Unreachable::NotConnected)?;
    let to = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
    let free = poll_fn(|_| {
        let mut free = sockets
            .iter()
            .filter_map(|socket| socket.try_borrow_mut().ok());
        free.next().map_or(Poll::Pending, Poll::Ready)
    });
    let mut connection = Connection(free.await, true);
    connection.0.abort();
    connection.0.set_timeout(Some(TCP_TIMEOUT));
    // The first poll sends the first packet; the rest is waiting.
    if let Poll::Ready(Err(_)) = poll_once(connection.0.connect(to)) {
        return Err(Unreachable::Connect);
    }
    let is_decided = |state| !matches!(state, State::SynSent | State::SynReceived);
    let state = connection.until(|socket| Some(socket.state()).filter(|s| is_decided(*s)));
    match state.await {
        State::Established | State::CloseWait => Ok(connection),
        _ => Err(Unreachable::Connect),
    }
}

/// A connection, and whether it ends when nothing comes; dropping it gives the socket back.
///
/// smoltcp counts from what came last, whether something was to come or not: so only while something is unacknowledged.
pub(super) struct Connection<'s, 'd>(RefMut<'s, TcpSocket<'d>>, bool);

impl<'d> Connection<'_, 'd> {
    async fn until<T>(&self, mut look: impl FnMut(&TcpSocket<'d>) -> Option<T>) -> T {
        poll_fn(|_| match look(&self.0) {
            Some(seen) => Poll::Ready(seen),
            None => Poll::Pending,
        })
        .await
    }

    fn end_when_silent(&mut self, ends: bool) {
        // Said once: each time wakes the stack.
        if self.1 != ends {
            self.1 = ends;
            self.0.set_timeout(ends.then_some(TCP_TIMEOUT));
        }
    }
}

impl Drop for Connection<'_, '_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ErrorType for Connection<'_, '_> {
    type Error = Error;
}

impl Read for Connection<'_, '_> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let is_ready = |socket: &TcpSocket<'_>| socket.can_recv() || !socket.may_recv();
        poll_fn(|_| {
            let is_acknowledged = self.0.send_queue() == 0;
            self.end_when_silent(!is_acknowledged);
            match is_ready(&self.0) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        self.0.read(into).await
    }
}

impl Write for Connection<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let is_ready = |socket: &TcpSocket<'_>| socket.can_send() || !socket.may_send();
        self.until(|socket| is_ready(socket).then_some(())).await;
        self.end_when_silent(true);
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let is_done = |socket: &TcpSocket<'_>| socket.send_queue() == 0 || !socket.may_send();
        self.until(|socket| is_done(socket).then_some(())).await;
        match self.0.send_queue() {
            0 => Ok(()),
            _ => Err(Error::ConnectionReset),
        }
    }
}
