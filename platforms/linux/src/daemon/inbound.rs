//! Connections that the fleet makes to this device through a tunnel inside this process.
//!
//! Where the tunnel is a network interface the system itself accepts them, and a fence keeps them to the same ports.
//! Inside this process they are taken on the ports that services publish, and on those of the device itself that the configuration names, and on no other; each goes to the service that published the port and nowhere else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lightship_wireguard::Buffers;
use lightship_wireguard::tunnel::{Backend, TunnelListener, TunnelStream};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::tunnel::{Open, Opened};
use crate::engine::Engine;
use crate::engine::runtime::fence;

/// Connections at once, over all ports.
const CONNECTIONS: usize = 32;
/// Ports that are listened on.
const PORTS: usize = 64;
/// How long a service may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// Where connections to each port go.
type Ways = BTreeMap<u16, SocketAddr>;

/// Serves for ever; poll it beside the driver. Looks again whenever `stirred` says that something has changed.
pub(super) async fn serve<E: Engine>(
    mut opened: Opened,
    engine: Option<Arc<E>>,
    own: Vec<u16>,
    mut stirred: watch::Receiver<()>,
) -> std::convert::Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut served = Served::default();
    let mut fence = Fence::default();
    loop {
        let open = opened.borrow_and_update().clone();
        let interface = open.as_ref().and_then(|open| open.tunnel.interface());
        fence.stand_before(interface, &own).await;
        match open {
            Some(open) if open.tunnel.backend() == Backend::InProcess => {
                let ways = ways(engine.as_deref(), &own).await;
                served.settle(&open, ways, &places).await
            }
            Some(_) | None => served.end(),
        }
        let gone = tokio::select! {
            changed = opened.changed() => {
                served.end();
                changed.is_err()
            }
            changed = stirred.changed() => changed.is_err(),
        };
        if gone {
            // Nobody opens tunnels or runs services any more.
            std::future::pending::<()>().await;
        }
    }
}

async fn ways<E: Engine>(engine: Option<&E>, own: &[u16]) -> Ways {
    let to_itself = |port: &u16| (*port, SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
    let mut ways: Ways = own.iter().map(to_itself).collect();
    if let Some(engine) = engine {
        match engine.published().await {
            Ok(published) => ways.extend(published),
            Err(error) => tracing::warn!(%error, "published ports are not known"),
        }
    }
    ways.into_iter().take(PORTS).collect()
}

/// What keeps the fleet to the ports that are meant for it, before the interface of this name.
#[derive(Default)]
struct Fence(Option<String>);

impl Fence {
    async fn stand_before(&mut self, interface: Option<String>, ports: &[u16]) {
        if self.0 == interface {
            return;
        }
        let (name, ports) = (interface.clone(), ports.to_vec());
        let changed = tokio::task::spawn_blocking(move || match name {
            Some(name) => fence::raise(&name, &ports),
            None => fence::lower(),
        });
        match changed.await.unwrap_or_else(|error| Err(error.into())) {
            Ok(()) => self.0 = interface,
            Err(error) => {
                tracing::error!(%error, "the fleet reaches every port of this device: the kernel takes no rules of nftables");
            }
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if self.0.is_some()
            && let Err(error) = fence::lower()
        {
            tracing::debug!(%error, "rules for a tunnel that is gone are left");
        }
    }
}

/// The ports that are listened on, and where their connections go.
#[derive(Default)]
struct Served(BTreeMap<u16, (SocketAddr, AbortHandle)>);

impl Served {
    fn end(&mut self) {
        for (_, (_, task)) in std::mem::take(&mut self.0) {
            task.abort();
        }
    }

    async fn settle(&mut self, open: &Open, ways: Ways, places: &Arc<Semaphore>) {
        self.0.retain(|port, (to, task)| {
            let is_kept = ways.get(port) == Some(to);
            if !is_kept {
                task.abort();
            }
            is_kept
        });
        // What was ended lets go of its port when it runs the next time.
        tokio::task::yield_now().await;
        for (port, to) in ways {
            if self.0.contains_key(&port) {
                continue;
            }
            match open.tunnel.listen(port, Buffers::default()).await {
                Ok(listener) => {
                    let task = tokio::spawn(accept(listener, to, places.clone()));
                    self.0.insert(port, (to, task.abort_handle()));
                }
                Err(error) => tracing::warn!(port, %error, "a port is not open in the tunnel"),
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

async fn accept(mut listener: TunnelListener, to: SocketAddr, places: Arc<Semaphore>) {
    let mut carried = tokio::task::JoinSet::new();
    while let Some(stream) = listener.accept().await {
        while carried.try_join_next().is_some() {}
        // Beyond the bound a connection is closed at once.
        if let Ok(place) = places.clone().try_acquire_owned() {
            carried.spawn(async move {
                join(stream, to).await;
                drop(place);
            });
        }
    }
}

async fn join(mut stream: TunnelStream, to: SocketAddr) {
    if let Ok(Ok(mut service)) = timeout(CONNECT, TcpStream::connect(to)).await {
        // Either end may hang up whenever it likes.
        let _ = copy_bidirectional(&mut stream, &mut service).await;
    }
}
