//! Connections of a tunnel, whoever carries them.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::stack::Stream;

/// A TCP connection through the tunnel.
#[derive(Debug)]
pub struct TunnelStream(Inner);

#[derive(Debug)]
enum Inner {
    InProcess(Stream),
    System(TcpStream),
}

impl TunnelStream {
    pub(super) fn in_process(stream: Stream) -> Self {
        Self(Inner::InProcess(stream))
    }

    pub(super) fn system(stream: TcpStream) -> Self {
        Self(Inner::System(stream))
    }
}

/// Connections of the hub to one port of this device. Dropping it closes the port.
#[derive(Debug)]
pub struct TunnelListener(Arrivals);

#[derive(Debug)]
enum Arrivals {
    InProcess(mpsc::Receiver<Stream>),
    /// Only connections from this address count.
    System(TcpListener, Ipv4Addr),
}

impl TunnelListener {
    pub(super) fn in_process(arrivals: mpsc::Receiver<Stream>) -> Self {
        Self(Arrivals::InProcess(arrivals))
    }

    pub(super) fn system((listener, hub): (TcpListener, Ipv4Addr)) -> Self {
        Self(Arrivals::System(listener, hub))
    }

    /// The next connection; `None` when the tunnel has ended.
    pub async fn accept(&mut self) -> Option<TunnelStream> {
        match &mut self.0 {
            Arrivals::InProcess(arrivals) => arrivals.recv().await.map(TunnelStream::in_process),
            Arrivals::System(listener, hub) => {
                accept_from(listener, *hub).await.map(TunnelStream::system)
            }
        }
    }
}

/// The next connection that the hub made; `None` when the listener is broken.
async fn accept_from(listener: &TcpListener, hub: Ipv4Addr) -> Option<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, from)) if from.ip() == hub => {
                // Without it small messages wait for each other; the connection works all the same.
                let _ = stream.set_nodelay(true);
                return Some(stream);
            }
            Ok(_) => {}
            // A connection that ended before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return None,
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::InProcess(stream) => Pin::new(stream).poll_read(cx, buffer),
            Inner::System(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Inner::InProcess(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::System(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::InProcess(stream) => Pin::new(stream).poll_flush(cx),
            Inner::System(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::InProcess(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::System(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
