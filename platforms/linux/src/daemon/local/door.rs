//! Doors: who may come in where, and how much.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::Local;
use super::answer::{self, Body};
use super::rate::Rates;
use crate::engine::Engine;
use crate::engine::runtime::link::Links;
use crate::store::InstanceId;

/// Connections at once through one door.
const CONNECTIONS: usize = 8;
/// A request that has not come, or an answer that was not taken, after so long never will.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Containers' addresses: the first two bytes of `Options::addresses`.
const CONTAINERS: [u8; 2] = [172, 30];
/// A door that fails is tried again so often.
const AGAIN: Duration = Duration::from_secs(5);

/// Who stands at a door before a token is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The host's root.
    Host,
    /// Whatever runs in the container of this instance.
    Service(InstanceId),
    /// Anything on the device.
    Address,
}

/// Opens the host's own door: no token is needed, because root alone can open it.
pub(super) fn host<E: Engine + 'static>(path: &Path, local: Rc<Local<E>>) -> io::Result<()> {
    let _ = fs::remove_file(path);
    // Nobody else may open it even for the moment until its permissions are set.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = std::os::unix::net::UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::task::spawn_local(unix(listener, Door::Host, local));
    Ok(())
}

/// Answers at the doors of services as they come and go.
pub(super) async fn services<E: Engine + 'static>(local: Rc<Local<E>>) {
    let mut open: BTreeMap<InstanceId, AbortHandle> = BTreeMap::new();
    loop {
        for (id, listener) in local.services.opened() {
            let Ok(listener) = UnixListener::from_std(listener) else {
                continue;
            };
            let task = tokio::task::spawn_local(unix(listener, Door::Service(id), local.clone()));
            if let Some(before) = open.insert(id, task.abort_handle()) {
                before.abort();
            }
        }
        let known = local.services.all();
        open.retain(|id, task| {
            let stays = known.contains_key(id);
            if !stays {
                task.abort();
            }
            stays
        });
        local.services.doors.notified().await;
    }
}

/// Answers at an address of the device, once a service asks for the local API.
pub(super) async fn address<E: Engine + 'static>(address: SocketAddr, local: Rc<Local<E>>) {
    let wanted = |local: &Local<E>| {
        let known = local.services.all();
        known
            .values()
            .any(|service| service.has_api || service.is_balena)
    };
    while !wanted(&local) {
        local.services.address_wanted.notified().await;
    }
    let listener = match listen(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "the local API has no address; services reach it by their sockets");
            return;
        }
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let rates = Rc::new(Rates::default());
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) if is_near(peer.ip(), address.ip()) => {
                let one = serve(stream, Door::Address, local.clone(), rates.clone());
                tokio::task::spawn_local(async move {
                    one.await;
                    drop(permit);
                });
            }
            // A host that is not this one has no business here, whatever token it has.
            Ok(_) => {}
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
        done => return done,
    }
    // A link-local address that this host does not have yet: its own loopback gets it.
    let IpAddr::V4(ip) = address.ip() else {
        return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    };
    if ip.is_link_local() {
        Links::open()?.address("lo", ip, 32)?;
    }
    TcpListener::bind(address).await
}

/// Whether it is a container or this host itself: an address from elsewhere cannot be answered from here unseen.
fn is_near(peer: IpAddr, own: IpAddr) -> bool {
    let IpAddr::V4(v4) = peer.to_canonical() else {
        return peer.is_loopback();
    };
    let is_container = |address: Ipv4Addr| address.octets()[..2] == CONTAINERS;
    peer == own || v4.is_loopback() || is_container(v4)
}

async fn unix<E: Engine + 'static>(listener: UnixListener, door: Door, local: Rc<Local<E>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let rates = Rc::new(Rates::default());
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let one = serve(stream, door, local.clone(), rates.clone());
                tokio::task::spawn_local(async move {
                    one.await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// One request and its answer.
fn serve<E: Engine + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    door: Door,
    local: Rc<Local<E>>,
    rates: Rc<Rates>,
) -> impl Future<Output = ()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (local, rates) = (local.clone(), rates.clone());
        async move { Ok::<Response<Body>, Infallible>(answer::to(&local, door, &rates, request).await) }
    });
    let mut server = http1::Builder::new();
    server
        .keep_alive(false)
        .half_close(true)
        .max_buf_size(HEAD_BYTES);
    let connection = server.serve_connection(TokioIo::new(stream), answer);
    async move {
        // What goes wrong with a connection is the asker's loss alone.
        let _ = tokio::time::timeout(PATIENCE, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_device_and_its_containers_are_near() {
        let own = IpAddr::from([169, 254, 77, 1]);
        for near in ["172.30.4.2", "127.0.0.1", "169.254.77.1", "::1"] {
            assert!(is_near(near.parse().unwrap(), own), "{near}");
        }
        for far in [
            "172.31.0.1",
            "192.168.1.5",
            "169.254.77.2",
            "10.0.0.1",
            "fe80::1",
        ] {
            assert!(!is_near(far.parse().unwrap(), own), "{far}");
        }
    }
}
