//! A TCP connection through a tunnel, whoever carries it: the stack in this process, or the operating system.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(feature = "linux")]
use tokio::net::TcpStream;

#[cfg(feature = "linux")]
use crate::life::Life;
use crate::stack;

/// A TCP connection through a tunnel.
///
/// Dropping it closes it in order: what was written is still delivered.
/// When the hub removes the device, the connection ends with [`io::ErrorKind::ConnectionReset`].
#[derive(Debug)]
pub struct Stream(Inner);

#[derive(Debug)]
enum Inner {
    Stack(stack::Stream),
    #[cfg(feature = "linux")]
    System(TcpStream, Life),
}

impl Stream {
    pub(crate) fn of_stack(stream: stack::Stream) -> Self {
        Self(Inner::Stack(stream))
    }

    /// A connection of the operating system; it ends with its `life`.
    #[cfg(feature = "linux")]
    pub(crate) fn of_system(stream: TcpStream, life: Life) -> Self {
        // Without it small messages wait for each other; the connection works all the same.
        let _ = stream.set_nodelay(true);
        Self(Inner::System(stream, life))
    }

    /// Resets the connection instead of closing it in order.
    pub fn reset(self) {
        match self.0 {
            Inner::Stack(stream) => stream.reset(),
            #[cfg(feature = "linux")]
            // To close without lingering is to reset.
            Inner::System(stream, _) => {
                drop(socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Stack(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "linux")]
            Inner::System(stream, life) => {
                life.check_read(cx)?;
                Pin::new(stream).poll_read(cx, buffer)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Inner::Stack(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "linux")]
            Inner::System(stream, life) => {
                life.check_write(cx)?;
                Pin::new(stream).poll_write(cx, bytes)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Stack(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "linux")]
            Inner::System(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Stack(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "linux")]
            Inner::System(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
