//! Connections that the hub makes to a device, whoever carries them.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::life::Life;
use crate::{Stream, stack};

/// Connections of the hub to one port of this device. Dropping it closes the port.
#[derive(Debug)]
pub struct TunnelListener(Arrivals);

#[derive(Debug)]
enum Arrivals {
    InProcess(mpsc::Receiver<stack::Stream>),
    /// Only connections from this address count.
    System(TcpListener, Ipv4Addr),
}

impl TunnelListener {
    pub(super) fn in_process(arrivals: mpsc::Receiver<stack::Stream>) -> Self {
        Self(Arrivals::InProcess(arrivals))
    }

    pub(super) fn system((listener, hub): (TcpListener, Ipv4Addr)) -> Self {
        Self(Arrivals::System(listener, hub))
    }

    /// The next connection; `None` when the tunnel has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        match &mut self.0 {
            Arrivals::InProcess(arrivals) => arrivals.recv().await.map(Stream::of_stack),
            Arrivals::System(listener, hub) => {
                let stream = accept_from(listener, *hub).await?;
                Some(Stream::of_system(stream, Life::default()))
            }
        }
    }
}

/// The next connection that the hub made; `None` when the listener is broken.
async fn accept_from(listener: &TcpListener, hub: Ipv4Addr) -> Option<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, from)) if from.ip() == hub => return Some(stream),
            Ok(_) => {}
            // A connection that ended before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return None,
        }
    }
}
