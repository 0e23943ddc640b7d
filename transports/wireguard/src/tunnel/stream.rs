//! Connections of a tunnel, whoever carries them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::stack::Stream;

/// A TCP connection through the tunnel.
#[derive(Debug)]
pub struct TunnelStream(Inner);

#[derive(Debug)]
enum Inner {
    InProcess(Stream),
}

impl TunnelStream {
    pub(super) fn in_process(stream: Stream) -> Self {
        Self(Inner::InProcess(stream))
    }
}

/// Connections of the hub to one port of this device. Dropping it closes the port.
#[derive(Debug)]
pub struct TunnelListener(Arrivals);

#[derive(Debug)]
enum Arrivals {
    InProcess(mpsc::Receiver<Stream>),
}

impl TunnelListener {
    pub(super) fn in_process(arrivals: mpsc::Receiver<Stream>) -> Self {
        Self(Arrivals::InProcess(arrivals))
    }

    /// The next connection; `None` when the tunnel has ended.
    pub async fn accept(&mut self) -> Option<TunnelStream> {
        match &mut self.0 {
            Arrivals::InProcess(arrivals) => arrivals.recv().await.map(TunnelStream::in_process),
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
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::InProcess(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::InProcess(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
