//! The microcontroller's driver, run on this machine: embassy-net's stack over the tunnel, to the real hub.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use critical_section as _;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Ipv4Cidr, StackResources, StaticConfigV4};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use lightship_wireguard::embassy::{self, Board, Control, Wire};
use lightship_wireguard::hub::{Hub, HubConfig, Note, Peer};
use lightship_wireguard::link::{KeepAlive, KeySet, Link, LinkNote};
use lightship_wireguard::{
    Buffers, EntropyError, EntropySource, Os, PresharedKey, RESERVE_S, SecretKey,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
/// More than one packet holds.
const LONG: &str = include_str!("embassy.rs");
const BUILT_S: u64 = 1_750_000_000;

/// A board without a clock, whose flash is one number.
struct TestBoard<'a>(&'a AtomicU64);

impl EntropySource for TestBoard<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        Os.fill(bytes)
    }
}

impl Board for TestBoard<'_> {
    async fn store_floor(&mut self, floor_s: u64) -> bool {
        self.0.store(floor_s, Ordering::SeqCst);
        true
    }
}

struct Socket(tokio::net::UdpSocket);

impl Wire for Socket {
    async fn send(&mut self, datagram: &[u8]) {
        self.0.send(datagram).await.unwrap();
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> usize {
        self.0.recv(buffer).await.unwrap()
    }

    fn authenticated(&mut self) {}
}

/// One life of the board: connects to the hub's port 80 and sends a word; then goes on until `then` is done.
async fn live<T>(
    hub: SocketAddr,
    keys: KeySet,
    floor: &AtomicU64,
    word: &str,
    then: impl AsyncFnOnce(&Control<CriticalSectionRawMutex>) -> T,
) -> T {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    socket.connect(hub).await.unwrap();
    let control = Control::new();
    let mut buffers = embassy::Buffers::<1, 1>::new();
    let mut link = Link::idle();
    let stored_s = floor.load(Ordering::SeqCst);
    let (runner, driver) = embassy::new(&mut buffers, &mut link, &control, stored_s);
    control.replace(keys, KeepAlive::Learned);
    let mut resources = StackResources::<2>::new();
    let config = Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(DEVICE, 24),
        gateway: Some(HUB),
        dns_servers: Default::default(),
    });
    let (stack, mut inner) = embassy_net::new(driver, config, &mut resources, seed());
    let application = async {
        let (mut receive, mut send) = ([0; 2048], [0; 2048]);
        let mut tcp = TcpSocket::new(stack, &mut receive, &mut send);
        tcp.connect((HUB, 80)).await.unwrap();
        let mut rest = word.as_bytes();
        while !rest.is_empty() {
            let written = tcp.write(rest).await.unwrap();
            rest = &rest[written..];
        }
        tcp.flush().await.unwrap();
        then(&control).await
    };
    tokio::select! {
        _ = runner.run(Socket(socket), TestBoard(floor)) => unreachable!("it runs for ever"),
        _ = inner.run() => unreachable!("it runs for ever"),
        done = tokio::time::timeout(Duration::from_secs(30), application) => done.expect("within 30 s"),
    }
}

async fn hub_with(keys: &KeySet, secret: SecretKey) -> Hub {
    let config = HubConfig {
        secret,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        enrolment: None,
        address: HUB,
        guest_address: Ipv4Addr::new(10, 77, 255, 254),
    };
    let hub = Hub::start(config).await.unwrap();
    hub.add(Peer {
        address: DEVICE,
        key: keys.secret.public(),
        preshared: keys.preshared.clone(),
    })
    .unwrap();
    hub
}

#[tokio::test]
async fn a_board_without_a_clock_connects_again_after_each_reboot_and_changes_keys_while_it_runs() {
    let secret = SecretKey::generate();
    let keys = KeySet {
        secret: SecretKey::generate(),
        hub: secret.public(),
        preshared: PresharedKey::generate(),
    };
    let hub = hub_with(&keys, secret).await;
    let address = hub.local_address().unwrap();
    let mut web = hub.listen(80, Buffers::default()).unwrap();
    let words = tokio::spawn(async move {
        let mut words = Vec::new();
        for word in [LONG, "two", "three"] {
            let (mut stream, from) = web.accept().await.unwrap();
            assert_eq!(from, DEVICE);
            let mut bytes = vec![0; word.len()];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            words.push(String::from_utf8(bytes).unwrap());
        }
        words
    });
    let floor = AtomicU64::new(BUILT_S);
    live(address, keys.clone(), &floor, LONG, async |_| ()).await;
    assert_eq!(floor.load(Ordering::SeqCst), BUILT_S + RESERVE_S);
    live(address, keys.clone(), &floor, "two", async |_| ()).await;
    assert_eq!(floor.load(Ordering::SeqCst), BUILT_S + 2 * RESERVE_S);

    let new = KeySet {
        secret: SecretKey::generate(),
        preshared: PresharedKey::generate(),
        ..keys.clone()
    };
    let mut notes = hub.notes();
    hub.offer_key(DEVICE, new.secret.public()).unwrap();
    hub.offer_preshared(DEVICE, new.preshared.clone()).unwrap();
    let offered = new.clone();
    live(address, keys.clone(), &floor, "three", async |control| {
        control.offer_keys(offered);
        while control.note().await != LinkNote::KeysConfirmed {}
        while !matches!(notes.recv().await.unwrap(), Note::DeviceKeyRetired { .. }) {}
    })
    .await;
    assert_eq!(hub.peer(DEVICE).unwrap().key, new.secret.public());
    assert_eq!(words.await.unwrap(), [LONG, "two", "three"]);
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    Os.fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}
