//! The hub and devices, over the loopback interface.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use lightship_wireguard::hub::{Hub, HubConfig, Peer};
use lightship_wireguard::tunnel::{KeepAlive, KeySet, Tunnel, TunnelConfig};
use lightship_wireguard::{Buffers, PresharedKey, PublicKey, SecretKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 254);

async fn hub() -> (Hub, PublicKey) {
    let secret = SecretKey::generate();
    let public = secret.public();
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let config = HubConfig {
        secret,
        listen: any,
        enrolment: Some(any),
        address: HUB,
        guest_address: GUEST,
    };
    (Hub::start(config).await.unwrap(), public)
}

fn keys(hub: PublicKey) -> KeySet {
    KeySet {
        secret: SecretKey::generate(),
        hub,
        preshared: PresharedKey::generate(),
    }
}

fn peer(address: Ipv4Addr, keys: &KeySet) -> Peer {
    Peer {
        address,
        key: keys.secret.public(),
        preshared: keys.preshared.clone(),
    }
}

async fn tunnel(hub: SocketAddr, address: Ipv4Addr, keys: KeySet) -> Tunnel {
    let keep_alive = KeepAlive::Learned;
    let config = TunnelConfig {
        keys,
        pending: None,
        hub,
        hub_address: HUB,
        address,
        keep_alive,
    };
    Tunnel::open(config).await.unwrap()
}

/// A device that is registered and connected.
async fn device(hub: &Hub, public: PublicKey, n: u8) -> (Tunnel, Ipv4Addr) {
    let address = Ipv4Addr::new(10, 77, 1, n);
    let keys = keys(public);
    hub.add(peer(address, &keys)).unwrap();
    (
        tunnel(hub.local_address().unwrap(), address, keys).await,
        address,
    )
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("within a minute")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_reaches_a_port_of_the_hub_and_the_hub_a_port_of_the_device() {
    let (hub, public) = hub().await;
    let mut web = hub.listen(80, Buffers::default()).unwrap();
    let (tunnel, address) = device(&hub, public, 1).await;
    let mut ssh = tunnel.listen(22, Buffers::default()).await.unwrap();

    let mut out = soon(tunnel.dial(80, Buffers::default())).await.unwrap();
    let (mut incoming, from) = soon(web.accept()).await.unwrap();
    assert_eq!(from, address);
    out.write_all(b"hello").await.unwrap();
    out.shutdown().await.unwrap();
    let mut text = String::new();
    soon(incoming.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "hello");

    let mut out = soon(hub.dial(address, 22, Buffers::default()))
        .await
        .unwrap();
    let mut incoming = soon(ssh.accept()).await.unwrap();
    out.write_all(b"world").await.unwrap();
    drop(out);
    let mut text = String::new();
    soon(incoming.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "world");

    let stats = hub.peer(address).unwrap();
    assert!(
        stats.last_handshake.is_some()
            && stats.endpoint.is_some()
            && stats.received > 0
            && stats.sent > 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_without_a_listener_refuses() {
    let (hub, public) = hub().await;
    let (tunnel, address) = device(&hub, public, 1).await;
    let refused = soon(tunnel.dial(81, Buffers::default())).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let refused = soon(hub.dial(address, 81, Buffers::default()))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_megabyte_arrives_whole_in_both_directions() {
    let (hub, public) = hub().await;
    let mut web = hub.listen(80, Buffers::LARGE).unwrap();
    let (tunnel, _) = device(&hub, public, 1).await;
    let stream = soon(tunnel.dial(80, Buffers::LARGE)).await.unwrap();
    let (incoming, _) = soon(web.accept()).await.unwrap();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let (mut a_read, mut a_write) = tokio::io::split(stream);
    let (mut b_read, mut b_write) = tokio::io::split(incoming);
    let exchange = async {
        let (mut at_hub, mut at_device) = (vec![0; bytes.len()], vec![0; bytes.len()]);
        let (a, b, c, d) = tokio::join!(
            a_write.write_all(&bytes),
            b_write.write_all(&bytes),
            a_read.read_exact(&mut at_device),
            b_read.read_exact(&mut at_hub),
        );
        a.and(b).unwrap();
        c.and(d).unwrap();
        assert!(at_hub == bytes && at_device == bytes);
    };
    soon(exchange).await;
}
