//! A TCP connection through a tunnel, as tokio reads and writes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stack;

/// Whoever keeps the stacks, and sends what they emit.
pub(crate) trait Owner: Send + Sync {
    /// Runs `work` on the stack and then moves its packets; `false` when the stack is gone.
    fn with_stack(&self, stack: StreamId, work: &mut dyn FnMut(&mut Stack)) -> bool;
}

/// Where a connection lives: which stack of its owner, in which life of that stack, and which socket in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId {
    pub(crate) peer: u64,
    pub(crate) life: u64,
    pub(crate) socket: SocketHandle,
}

/// A TCP connection through a tunnel.
///
/// Dropping it closes it in order: what was written is still delivered.
/// When the peer is removed the connection ends with [`io::ErrorKind::ConnectionReset`].
pub(crate) struct Stream {
    owner: Arc<dyn Owner>,
    id: StreamId,
}

impl Stream {
    pub(crate) fn new(owner: Arc<dyn Owner>, id: StreamId) -> Self {
        Self { owner, id }
    }

    /// Waits until the connection stands.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        let stood = std::future::poll_fn(|cx| {
            self.poll_socket(|stack| stack.poll_connected(self.id.socket, cx).map(Ok))
        })
        .await?;
        if stood {
            Ok(())
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    /// Resets the connection instead of closing it in order.
    pub(crate) fn reset(self) {
        // Dropping it then releases a socket that is closed already.
        self.owner
            .with_stack(self.id, &mut |stack| stack.socket(self.id.socket).abort());
    }

    fn poll_socket<T>(
        &self,
        mut work: impl FnMut(&mut Stack) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut outcome = Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        self.owner
            .with_stack(self.id, &mut |stack| outcome = work(stack));
        outcome
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?})", self.id)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.owner
            .with_stack(self.id, &mut |stack| stack.release(self.id.socket));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_socket(|stack| {
            let socket = stack.socket(self.id.socket);
            match socket.recv_slice(buffer.initialize_unfilled()) {
                Ok(0) if buffer.remaining() > 0 => {
                    socket.register_recv_waker(cx.waker());
                    Poll::Pending
                }
                Ok(read) => {
                    buffer.advance(read);
                    Poll::Ready(Ok(()))
                }
                Err(tcp::RecvError::Finished) => Poll::Ready(Ok(())),
                Err(tcp::RecvError::InvalidState) => {
                    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                }
            }
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_socket(|stack| {
            let socket = stack.socket(self.id.socket);
            if !socket.may_send() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if !socket.can_send() {
                socket.register_send_waker(cx.waker());
                return Poll::Pending;
            }
            Poll::Ready(
                socket
                    .send_slice(bytes)
                    .map_err(|_| io::ErrorKind::BrokenPipe.into()),
            )
        })
    }

    /// What was written is on its way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_socket(|stack| {
            stack.socket(self.id.socket).close();
            Poll::Ready(Ok(()))
        })
    }
}
