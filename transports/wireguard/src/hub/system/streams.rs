//! Connections of devices: sockets of the operating system, opened inside the hub's namespace.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;

use super::super::HubError;
use super::super::acceptor::{Acceptor, Queue};
use super::System;
use crate::Stream;
use crate::life::{Life, Reins};
use crate::limits;

/// How long to wait before a device that has not been there yet is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the kernel says of a device whose place or keys it does not know yet.
const ENOKEY: i32 = 126;
const EDESTADDRREQ: i32 = 89;

/// Which connections each device has, and which ports are listened on.
#[derive(Default)]
pub(super) struct Streams(Mutex<Open>);

#[derive(Default)]
struct Open {
    by_device: HashMap<Ipv4Addr, Vec<Reins>>,
    ports: HashSet<u16>,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection of this device, unless it has its share.
    fn enter(&self, device: Ipv4Addr) -> Option<Life> {
        let mut open = self.lock();
        let lives = open.by_device.entry(device).or_default();
        lives.retain(Reins::holds);
        if lives.len() >= limits::STREAMS_PER_DEVICE {
            return None;
        }
        let life = Life::default();
        lives.push(life.reins());
        Some(life)
    }

    /// Ends all connections of a device.
    pub(super) fn end(&self, device: Ipv4Addr) {
        let lives = self.lock().by_device.remove(&device).unwrap_or_default();
        lives.iter().for_each(Reins::end);
    }
}

impl System {
    pub(in super::super) fn listen(
        self: &Arc<Self>,
        port: u16,
    ) -> Result<Acceptor<Ipv4Addr>, HubError> {
        if !self.streams.lock().ports.insert(port) {
            return Err(HubError::PortTaken(port));
        }
        let address = SocketAddrV4::new(self.gateway, port);
        let listener = self.socket(move |socket| {
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::V4(address).into())?;
            socket.listen(limits::BACKLOG as i32)
        });
        let listener = listener.and_then(|socket| TcpListener::from_std(socket.into()));
        let listener = listener.map_err(|source| {
            self.streams.lock().ports.remove(&port);
            HubError::Listen {
                address: address.into(),
                source,
            }
        })?;
        let (queue, arrivals) = mpsc::channel(limits::BACKLOG);
        let system = Arc::downgrade(self);
        let accepting = tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = queue.closed() => return,
                };
                let Some(system) = system.upgrade() else {
                    return;
                };
                match accepted {
                    Ok((stream, from)) => system.accepted(stream, from, &queue),
                    // No descriptor is left, or a connection ended before it was accepted.
                    Err(_) => tokio::time::sleep(AGAIN / 10).await,
                }
            }
        });
        let system = Arc::downgrade(self);
        Ok(Acceptor::new(arrivals, move || {
            accepting.abort();
            if let Some(system) = system.upgrade() {
                system.streams.lock().ports.remove(&port);
            }
        }))
    }

    /// What nobody takes, or is nobody's, is dropped.
    fn accepted(&self, stream: tokio::net::TcpStream, from: SocketAddr, queue: &Queue<Ipv4Addr>) {
        let SocketAddr::V4(from) = from else { return };
        let device = *from.ip();
        if let Ok(life) = self.enter(device) {
            let _ = queue.try_send((Stream::of_system(stream, life), device));
        }
    }

    /// A place for a connection of a device that is let in. The lock is held meanwhile: who removes the device then ends this connection too.
    fn enter(&self, device: Ipv4Addr) -> io::Result<Life> {
        let state = self.lock();
        if !state.roster.knows(device) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let life = self.streams.enter(device);
        drop(state);
        Ok(life.ok_or(io::ErrorKind::QuotaExceeded)?)
    }

    pub(in super::super) async fn dial(&self, device: Ipv4Addr, port: u16) -> io::Result<Stream> {
        let gateway = SocketAddr::from((self.gateway, 0));
        loop {
            let life = self.enter(device)?;
            let socket = self.socket(move |socket| socket.bind(&gateway.into()))?;
            let socket = TcpSocket::from_std_stream(socket.into());
            match socket.connect((device, port).into()).await {
                Ok(stream) => return Ok(Stream::of_system(stream, life)),
                Err(error) if is_absence(&error) => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// A TCP socket inside.
    fn socket(
        &self,
        prepare: impl FnOnce(&Socket) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Socket> {
        self.namespace.inside(move |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            prepare(&socket)?;
            Ok(socket)
        })
    }
}

/// The device is not there now, and may be later.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut
    ) || matches!(error.raw_os_error(), Some(ENOKEY | EDESTADDRREQ))
}
