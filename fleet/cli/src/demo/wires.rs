//! The wires between the demo's devices and its server, which count what they carry.
//!
//! The microcontroller sends to a UDP port of its own. The Linux device is in a network namespace with
//! nothing but a loopback interface; what it sends there is carried out over sockets in the file system,
//! as a modem would: nothing gets in that the device did not ask for, and no interface is made on this machine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

/// Longest datagram.
const DATAGRAM: usize = 64 * 1024;
/// Places that one wire remembers the answers' way to.
const FLOWS: usize = 64;

/// Bytes that went over a wire, both ways.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Carries datagrams from `entrance` to `hub`, each sender over a port of its own, and the answers back.
pub(super) async fn datagrams(entrance: Arc<UdpSocket>, hub: SocketAddr, meter: Meter) {
    let mut flows: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((len, from)) = entrance.recv_from(&mut buffer).await else {
            continue;
        };
        if !flows.contains_key(&from) {
            if flows.len() == FLOWS {
                flows.clear();
            }
            let Ok(socket) = connected(hub).await else {
                continue;
            };
            let back = (Arc::clone(&entrance), Arc::clone(&socket), meter.clone());
            tokio::spawn(async move {
                let (entrance, socket, meter) = back;
                let mut buffer = vec![0; DATAGRAM];
                while let Ok(len) = socket.recv(&mut buffer).await {
                    meter.count(len);
                    let _ = entrance.send_to(&buffer[..len], from).await;
                }
            });
            flows.insert(from, socket);
        }
        meter.count(len);
        // A datagram may be lost anywhere.
        let _ = flows[&from].send(&buffer[..len]).await;
    }
}

async fn connected(hub: SocketAddr) -> std::io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    socket.connect(hub).await?;
    Ok(Arc::new(socket))
}

/// The outer ends of a Linux device's wires: sockets in `folder`.
pub(super) struct Outside {
    streams: UnixListener,
    datagrams: UnixDatagram,
    folder: PathBuf,
}

const STREAMS: &str = "streams";
const OUTSIDE: &str = "outside";
const INSIDE: &str = "inside";

impl Outside {
    pub(super) fn open(folder: &Path) -> std::io::Result<Self> {
        Ok(Self {
            streams: UnixListener::bind(folder.join(STREAMS))?,
            datagrams: UnixDatagram::bind(folder.join(OUTSIDE))?,
            folder: folder.to_owned(),
        })
    }

    /// Carries until it is dropped.
    pub(super) async fn carry(self, https: SocketAddr, hub: SocketAddr, meter: Meter) {
        let inside = self.folder.join(INSIDE);
        let streams = async {
            while let Ok((device, _)) = self.streams.accept().await {
                let meter = meter.clone();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(https).await {
                        join(device, server, &meter).await;
                    }
                });
            }
        };
        let Ok(socket) = connected(hub).await else {
            return;
        };
        let up = async {
            let mut buffer = vec![0; DATAGRAM];
            while let Ok(len) = self.datagrams.recv(&mut buffer).await {
                meter.count(len);
                let _ = socket.send(&buffer[..len]).await;
            }
        };
        let down = async {
            let mut buffer = vec![0; DATAGRAM];
            loop {
                let Ok(len) = socket.recv(&mut buffer).await else {
                    continue;
                };
                meter.count(len);
                let _ = self.datagrams.send_to(&buffer[..len], &inside).await;
            }
        };
        tokio::join!(streams, up, down);
    }
}

/// The inner ends: what the device believes to be the server's and the hub's ports. Runs for ever.
pub(super) async fn inside(
    folder: &Path,
    https: SocketAddr,
    hub: SocketAddr,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(https).await?;
    let socket = UdpSocket::bind(hub).await?;
    let datagrams = UnixDatagram::bind(folder.join(INSIDE))?;
    datagrams.connect(folder.join(OUTSIDE))?;
    let streams = async {
        while let Ok((device, _)) = listener.accept().await {
            let path = folder.join(STREAMS);
            tokio::spawn(async move {
                if let Ok(outside) = UnixStream::connect(path).await {
                    join(device, outside, &Meter::default()).await;
                }
            });
        }
    };
    let between = async {
        let (mut up, mut down) = (vec![0; DATAGRAM], vec![0; DATAGRAM]);
        let mut device = None;
        loop {
            tokio::select! {
                Ok((len, from)) = socket.recv_from(&mut up) => {
                    device = Some(from);
                    let _ = datagrams.send(&up[..len]).await;
                }
                Ok(len) = datagrams.recv(&mut down) => {
                    if let Some(device) = device {
                        let _ = socket.send_to(&down[..len], device).await;
                    }
                }
            }
        }
    };
    tokio::join!(streams, between);
    Ok(())
}

/// Joins two streams until one of them ends.
async fn join<A, B>(a: A, b: B, meter: &Meter)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (a_from, a_to) = tokio::io::split(a);
    let (b_from, b_to) = tokio::io::split(b);
    tokio::join!(pump(a_from, b_to, meter), pump(b_from, a_to, meter));
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, meter: &Meter) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        meter.count(len);
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn a_datagram_goes_out_and_its_answer_comes_back_and_both_are_counted() {
        let hub = UdpSocket::bind(free()).await.unwrap();
        let entrance = Arc::new(UdpSocket::bind(free()).await.unwrap());
        let meter = Meter::default();
        let carried = datagrams(
            Arc::clone(&entrance),
            hub.local_addr().unwrap(),
            meter.clone(),
        );
        let carrying = tokio::spawn(carried);
        let device = UdpSocket::bind(free()).await.unwrap();
        let entrance = entrance.local_addr().unwrap();
        device.send_to(b"hello", entrance).await.unwrap();
        let mut buffer = [0; 16];
        let (len, from) = hub.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"hello");
        hub.send_to(b"good day", from).await.unwrap();
        let (len, from) = device.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..len], from), (&b"good day"[..], entrance));
        assert_eq!(meter.bytes(), 13);
        carrying.abort();
    }

    #[tokio::test]
    async fn a_device_behind_the_wires_reaches_the_server_and_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        let server = TcpListener::bind(free()).await.unwrap();
        let hub = UdpSocket::bind(free()).await.unwrap();
        let meter = Meter::default();
        let outside = Outside::open(folder.path()).unwrap();
        let places = (server.local_addr().unwrap(), hub.local_addr().unwrap());
        tokio::spawn(outside.carry(places.0, places.1, meter.clone()));
        // Free ports of this machine stand for the device's own loopback.
        let (https, inner) = (
            TcpListener::bind(free())
                .await
                .unwrap()
                .local_addr()
                .unwrap(),
            UdpSocket::bind(free()).await.unwrap().local_addr().unwrap(),
        );
        let path = folder.path().to_owned();
        tokio::spawn(async move { inside(&path, https, inner).await });
        let device = UdpSocket::bind(free()).await.unwrap();
        let mut buffer = [0; 16];
        while !folder.path().join(INSIDE).exists() {
            tokio::task::yield_now().await;
        }
        device.send_to(b"up", inner).await.unwrap();
        let (_, from) = hub.recv_from(&mut buffer).await.unwrap();
        hub.send_to(b"down", from).await.unwrap();
        let (len, _) = device.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"down");
        let mut stream = TcpStream::connect(https).await.unwrap();
        stream.write_all(b"ask").await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        served.read_exact(&mut buffer[..3]).await.unwrap();
        served.write_all(b"tell").await.unwrap();
        drop(served);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "tell");
        assert_eq!(meter.bytes(), 6 + 7);
    }
}
