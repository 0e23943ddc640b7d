//! Accepting connections: so many at once, so many from one address, and TLS shaken hands beside each other.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::peer::Peer;

/// How long a peer may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait when the system is out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Connections that are ready to be served.
pub(crate) struct Incoming {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
}

/// How many connections there may be.
#[derive(Clone)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    per_address: usize,
    taken: Arc<Mutex<HashMap<Peer, usize>>>,
}

/// One of the places; given back when it is dropped.
struct Place {
    _one: OwnedSemaphorePermit,
    peer: Peer,
    taken: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Places {
    /// So many in all, and so many from one address.
    pub(crate) fn new(all: usize, per_address: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            per_address,
            taken: Arc::default(),
        }
    }

    /// Waits for a place; peers wait in the kernel's queue meanwhile, which is bounded too.
    async fn any(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Gives the place to a peer, unless it has as many as it may.
    fn give(&self, one: OwnedSemaphorePermit, peer: Peer) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_insert(0);
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Place {
            _one: one,
            peer,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

/// A connection that gives back its place when it is dropped.
pub(crate) struct Connection {
    io: Io,
    _place: Option<Place>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Tunnel(Box<lightship_wireguard::Stream>),
}

impl Connection {
    /// A connection through a device's tunnel; the hub bounds how many there are.
    pub(crate) fn inside(stream: lightship_wireguard::Stream) -> Self {
        Self {
            io: Io::Tunnel(Box::new(stream)),
            _place: None,
        }
    }
}

impl Incoming {
    /// Connections that somebody else accepts.
    pub(crate) fn inside(ready: mpsc::Receiver<(Connection, SocketAddr)>) -> Self {
        Self { ready }
    }

    /// Accepts from `listener` until `stop`, in a task of its own.
    pub(crate) fn start(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        places: Places,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (sender, ready) = mpsc::channel(64);
        let accepts = tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept(listener, tls, places, sender) => {}
            }
        });
        (Self { ready }, accepts)
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    places: Places,
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    loop {
        let Some(place) = places.any().await else {
            return;
        };
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(EXHAUSTED).await;
            continue;
        };
        let Some(place) = places.give(place, Peer::from(peer.ip())) else {
            // Hung up on: one address must not have what all need.
            continue;
        };
        // Without it, answers in two segments wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let io = match tls {
                None => Io::Plain(stream),
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
                    Ok(Err(_)) | Err(_) => return,
                },
            };
            // Nobody left to serve it: the server is stopping.
            let _ = ready
                .send((
                    Connection {
                        io,
                        _place: Some(place),
                    },
                    peer,
                ))
                .await;
        });
    }
}

impl Incoming {
    /// The next connection and where it comes from; nothing when no more are accepted.
    pub(crate) async fn next(&mut self) -> Option<(Connection, SocketAddr)> {
        self.ready.recv().await
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tunnel(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tunnel(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
            Io::Tunnel(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tunnel(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}
