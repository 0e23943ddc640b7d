//! One hub, whatever ends its tunnels: this process, wireguard-go in a network of its own, the kernel inside a virtual machine. The devices are Lightship's, in this process.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "interop/machine.rs"]
mod machine;
#[allow(dead_code, reason = "each test uses its part of it")]
mod support;

use std::collections::HashSet;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lightship_wireguard::hub::{Backend, Hub, HubConfig, HubError, Note, Peer};
use lightship_wireguard::tunnel::{self, KeepAlive, KeySet, LinkNote, Tunnel, TunnelConfig};
use lightship_wireguard::{Buffers, PresharedKey, PublicKey, SecretKey, Stream, enrolment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast::Receiver;

use support::{block_on, block_on_for, isolated, run};

/// For a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(180);
const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 254);
const A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);

fn config() -> HubConfig {
    HubConfig {
        secret: SecretKey::generate(),
        listen: (Ipv4Addr::UNSPECIFIED, 0).into(),
        enrolment: Some((Ipv4Addr::LOCALHOST, 0).into()),
        address: HUB,
        guest_address: GUEST,
    }
}

/// Where this machine's devices reach a port of every address.
fn here(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, address.port()).into()
}

fn keys(hub: PublicKey) -> KeySet {
    KeySet {
        secret: SecretKey::generate(),
        hub,
        preshared: PresharedKey::generate(),
    }
}

async fn tunnel(keys: KeySet, hub: SocketAddr, address: Ipv4Addr) -> Tunnel {
    let config = TunnelConfig {
        keys,
        pending: None,
        hub,
        hub_address: HUB,
        address,
        keep_alive: KeepAlive::Learned,
    };
    let backends = [tunnel::Backend::InProcess];
    Tunnel::open_with(config, &backends).await.unwrap()
}

async fn admitted(hub: &Hub, public: PublicKey, address: Ipv4Addr) -> (Tunnel, KeySet) {
    let keys = keys(public);
    hub.add(Peer {
        address,
        key: keys.secret.public(),
        preshared: keys.preshared.clone(),
    })
    .unwrap();
    let at = here(hub.local_address().unwrap());
    (tunnel(keys.clone(), at, address).await, keys)
}

async fn echo(a: &mut Stream, b: &mut Stream) {
    let bytes: Vec<u8> = (0..100_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let mut back = vec![0; bytes.len()];
    let (sent, got) = tokio::join!(a.write_all(&bytes), b.read_exact(&mut back));
    sent.unwrap();
    got.unwrap();
    assert!(back == bytes);
}

async fn wait_for(notes: &mut Receiver<Note>, wanted: impl Fn(&Note) -> bool) {
    while !wanted(&notes.recv().await.unwrap()) {}
}

async fn confirmed(notes: &mut Receiver<LinkNote>) {
    while notes.recv().await.unwrap() != LinkNote::KeysConfirmed {}
}

/// Everything that a hub does.
async fn a_hub(backend: Backend) {
    let (config, before) = (config(), of_the_machine());
    let public = config.secret.public();
    let hub = Hub::start_with(config, &[backend]).await.unwrap();
    assert_eq!(hub.backend(), backend);
    assert_eq!(of_the_machine(), before, "nothing of it is seen outside");
    let mut notes = hub.notes();
    let mut web = hub.listen(80, Buffers::default()).unwrap();
    assert!(matches!(
        hub.listen(80, Buffers::default()),
        Err(HubError::PortTaken(80))
    ));

    // Either end reaches the other, and the hub knows who it is.
    let (a, a_keys) = admitted(&hub, public, A).await;
    let mut there = a.dial(80, Buffers::default()).await.unwrap();
    let (mut at_hub, from) = web.accept().await.unwrap();
    assert_eq!(from, A);
    echo(&mut there, &mut at_hub).await;
    let mut ssh = a.listen(22, Buffers::default()).await.unwrap();
    let mut out = hub.dial(A, 22, Buffers::default()).await.unwrap();
    let mut incoming = ssh.accept().await.unwrap();
    echo(&mut out, &mut incoming).await;
    wait_for(
        &mut notes,
        |note| matches!(note, Note::Connected { address, hub } if *address == A && *hub == public),
    )
    .await;
    let stats = hub.peer(A).unwrap();
    assert!(stats.last_handshake.unwrap() < Duration::from_secs(60));
    assert_eq!(stats.endpoint.unwrap().ip(), Ipv4Addr::LOCALHOST);
    assert!(stats.received > 100_000 && stats.sent > 100_000);

    nonsense_is_counted(&hub).await;
    nothing_but_the_services(&hub, &a).await;
    devices_do_not_meet(&hub, public, &a, &mut ssh).await;
    others_do_not_notice(&hub, public, &mut out, &mut incoming).await;
    let a_keys = keys_rotate(&hub, &mut notes, &a, a_keys, &mut web).await;
    the_hub_key_rotates(&hub, &mut notes, &a, a_keys, &mut web).await;
    guests_enrol_in_this_process(&hub).await;

    // A connection of a device that is removed ends at once.
    hub.remove(A).unwrap();
    let ended = out.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    let unknown = hub.dial(A, 22, Buffers::default()).await.unwrap_err();
    assert_eq!(unknown.kind(), io::ErrorKind::NotFound);
}

/// Datagrams that are no message, whoever would have dropped them: too short, too long for their type, of no type.
async fn nonsense_is_counted(hub: &Hub) {
    let before = hub.counters();
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let at = here(hub.local_address().unwrap());
    let typed = |number: u8, length: usize| {
        let mut datagram = vec![0; length];
        datagram[0] = number;
        datagram
    };
    let nonsense = [
        vec![1, 2, 3],
        typed(4, 31),
        typed(1, 149),
        typed(1, 147),
        typed(2, 91),
        typed(3, 65),
        typed(5, 148),
        vec![0xff; 1000],
    ];
    for datagram in &nonsense {
        socket.send_to(datagram, at).await.unwrap();
    }
    // These are messages, if nobody's.
    for datagram in [typed(1, 148), typed(2, 92), typed(3, 64), typed(4, 32)] {
        socket.send_to(&datagram, at).await.unwrap();
    }
    socket.send_to(&[0], at).await.unwrap();
    let all = before.malformed + nonsense.len() as u64;
    while hub.counters().malformed < all || hub.counters().pings == before.pings {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(hub.counters().malformed, all);
}

/// A port that nobody listens on refuses, also where the machine itself has a service on every address.
async fn nothing_but_the_services(hub: &Hub, a: &Tunnel) {
    let everywhere = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
        .await
        .unwrap();
    let port = everywhere.local_addr().unwrap().port();
    let refused = a.dial(port, Buffers::default()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let refused = hub.dial(A, 81, Buffers::default()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

/// A device whose hub is said to be at another device's address gets nothing there.
async fn devices_do_not_meet(
    hub: &Hub,
    public: PublicKey,
    a: &Tunnel,
    ssh: &mut tunnel::TunnelListener,
) {
    let keys = keys(public);
    hub.add(Peer {
        address: B,
        key: keys.secret.public(),
        preshared: keys.preshared.clone(),
    })
    .unwrap();
    let before = a.stats().received;
    let config = TunnelConfig {
        keys: keys.clone(),
        pending: None,
        hub: here(hub.local_address().unwrap()),
        hub_address: A,
        address: B,
        keep_alive: KeepAlive::Off,
    };
    let stray = Tunnel::open_with(config.clone(), &[tunnel::Backend::InProcess])
        .await
        .unwrap();
    let seconds = Duration::from_secs(3);
    let dialled = tokio::time::timeout(seconds, stray.dial(22, Buffers::default())).await;
    assert!(dialled.is_err(), "nobody answers");
    drop(stray);

    // Nor does one that says that it is the other one.
    let impostor = TunnelConfig {
        hub_address: HUB,
        address: A,
        ..config
    };
    let impostor = Tunnel::open_with(impostor, &[tunnel::Backend::InProcess])
        .await
        .unwrap();
    let dialled = tokio::time::timeout(seconds, impostor.dial(80, Buffers::default())).await;
    assert!(dialled.is_err(), "nobody answers");
    if hub.backend() != Backend::WireguardGo {
        while hub.counters().spoofed == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(
        a.stats().received,
        before,
        "nothing of it came to the other"
    );
    let arrived = tokio::time::timeout(Duration::ZERO, ssh.accept()).await;
    assert!(arrived.is_err());
    hub.remove(B).unwrap();
}

/// Devices come and go beside a connection that stands.
async fn others_do_not_notice(
    hub: &Hub,
    public: PublicKey,
    out: &mut Stream,
    incoming: &mut Stream,
) {
    let handshake = |hub: &Hub| hub.peer(A).unwrap().last_handshake.unwrap();
    let before = handshake(hub);
    let (b, b_keys) = admitted(hub, public, B).await;
    echo(out, incoming).await;
    let mut ssh = b.listen(22, Buffers::default()).await.unwrap();
    let mut to_b = hub.dial(B, 22, Buffers::default()).await.unwrap();
    echo(&mut to_b, &mut ssh.accept().await.unwrap()).await;
    let again = Peer {
        address: Ipv4Addr::new(10, 77, 1, 3),
        key: b_keys.secret.public(),
        preshared: PresharedKey::default(),
    };
    assert!(hub.add(again).is_err(), "a key is one device's");
    hub.offer_key(B, SecretKey::generate().public()).unwrap();
    echo(out, incoming).await;
    hub.remove(B).unwrap();
    echo(out, incoming).await;
    assert!(handshake(hub) >= before, "no handshake was needed");
}

/// The device's key and its pre-shared key, each in two phases; the old ones are accepted until the new ones are used.
async fn keys_rotate(
    hub: &Hub,
    notes: &mut Receiver<Note>,
    a: &Tunnel,
    old: KeySet,
    web: &mut lightship_wireguard::hub::Listener,
) -> KeySet {
    let new = KeySet {
        secret: SecretKey::generate(),
        ..old.clone()
    };
    hub.offer_key(A, new.secret.public()).unwrap();
    assert_eq!(hub.peer(A).unwrap().offered_key, Some(new.secret.public()));
    let at = here(hub.local_address().unwrap());
    // A device that has not heard of it comes with the old key.
    let ignorant = tunnel(old.clone(), at, A).await;
    ignorant.dial(80, Buffers::default()).await.unwrap();
    web.accept().await.unwrap();
    drop(ignorant);
    let mut confirmed_at_a = a.notes();
    a.offer_keys(new.clone()).unwrap();
    confirmed(&mut confirmed_at_a).await;
    wait_for(notes, |note| {
        matches!(note, Note::DeviceKeyRetired { address, retired, current }
            if (*address, *retired, *current) == (A, old.secret.public(), new.secret.public()))
    })
    .await;
    let mut there = a.dial(80, Buffers::default()).await.unwrap();
    let (mut at_hub, _) = web.accept().await.unwrap();
    echo(&mut there, &mut at_hub).await;
    let retired = tunnel(old, at, A).await;
    let dialled =
        tokio::time::timeout(Duration::from_secs(2), retired.dial(80, Buffers::default()));
    assert!(dialled.await.is_err(), "the old key opens nothing");
    drop(retired);

    let newest = KeySet {
        preshared: PresharedKey::generate(),
        ..new
    };
    hub.offer_preshared(A, newest.preshared.clone()).unwrap();
    a.offer_keys(newest.clone()).unwrap();
    confirmed(&mut confirmed_at_a).await;
    let mut there = a.dial(80, Buffers::default()).await.unwrap();
    let (mut at_hub, _) = web.accept().await.unwrap();
    echo(&mut there, &mut at_hub).await;
    // An interface takes until the next handshake, in two minutes, to be certain.
    if hub.backend() == Backend::UserSpace {
        let retired = Note::PresharedKeyRetired { address: A };
        wait_for(notes, |note| *note == retired).await;
    }
    newest
}

/// A second hub key answers beside the first, and the first can go when the devices have moved.
async fn the_hub_key_rotates(
    hub: &Hub,
    notes: &mut Receiver<Note>,
    a: &Tunnel,
    keys: KeySet,
    web: &mut lightship_wireguard::hub::Listener,
) {
    let second = SecretKey::generate();
    hub.add_key(second.clone()).unwrap();
    let answers_to: HashSet<_> = hub.keys().into_iter().collect();
    assert_eq!(answers_to, HashSet::from([keys.hub, second.public()]));
    let at = here(hub.address_of(&second.public()).unwrap());
    let shares_the_port = at == here(hub.address_of(&keys.hub).unwrap());
    assert_eq!(shares_the_port, hub.backend() == Backend::UserSpace);
    let mut there = a.dial(80, Buffers::default()).await.unwrap();
    let (mut at_hub, _) = web.accept().await.unwrap();
    echo(&mut there, &mut at_hub).await;

    let moved = KeySet {
        hub: second.public(),
        ..keys.clone()
    };
    let mut confirmed_at_a = a.notes();
    a.move_hub(at);
    a.offer_keys(moved).unwrap();
    confirmed(&mut confirmed_at_a).await;
    wait_for(
        notes,
        |note| matches!(note, Note::Connected { address, hub } if *address == A && *hub == second.public()),
    )
    .await;
    assert_eq!(hub.peer(A).unwrap().hub_key, Some(second.public()));
    assert!(hub.retire_key(&keys.hub));
    assert_eq!(hub.keys(), [second.public()]);
    let mut there = a.dial(80, Buffers::default()).await.unwrap();
    let (mut at_hub, _) = web.accept().await.unwrap();
    echo(&mut there, &mut at_hub).await;
}

async fn guests_enrol_in_this_process(hub: &Hub) {
    let provisioning = SecretKey::generate();
    let preshared = enrolment::preshared_key(b"provisioning key");
    hub.open_enrolment(provisioning.clone(), preshared.clone())
        .unwrap();
    let mut registration = hub.listen_for_guests(80, Buffers::SMALL).unwrap();
    let keys = KeySet {
        secret: SecretKey::generate(),
        hub: provisioning.public(),
        preshared,
    };
    let at = hub.enrolment_address().unwrap();
    let guest = tunnel(keys.clone(), at, GUEST).await;
    let mut there = guest.dial(80, Buffers::SMALL).await.unwrap();
    let (mut here, who) = registration.accept().await.unwrap();
    assert_eq!(who.key, keys.secret.public());
    echo(&mut there, &mut here).await;
    assert!(hub.retire_key(&provisioning.public()));
}

/// The interfaces, addresses and routes of the machine itself.
fn of_the_machine() -> String {
    let shown = [["link"], ["addr"], ["route"]].map(|words| {
        let shown = Command::new("ip").args(words).output().unwrap();
        String::from_utf8(shown.stdout).unwrap()
    });
    shown.concat()
}

fn all_of_it(backend: Backend) {
    // A machine that forwards packets is the worst case.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    block_on_for(LIMIT, a_hub(backend));
    block_on(what_is_left(backend));
}

/// The port is free again as soon as the hub is dropped.
async fn what_is_left(backend: Backend) {
    let config = config();
    let hub = Hub::start_with(config.clone(), &[backend]).await.unwrap();
    let at = hub.local_address().unwrap();
    let taken = HubConfig {
        listen: (Ipv4Addr::UNSPECIFIED, at.port()).into(),
        ..config.clone()
    };
    assert!(matches!(
        Hub::start_with(taken.clone(), &[backend]).await,
        Err(HubError::Interface { .. })
    ));
    drop(hub);
    while Hub::start_with(taken.clone(), &[backend]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let one_address = HubConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ..config
    };
    assert!(matches!(
        Hub::start_with(one_address.clone(), &[backend]).await,
        Err(HubError::EveryAddress(_))
    ));
    let either = [backend, Backend::UserSpace];
    let hub = Hub::start_with(one_address, &either).await.unwrap();
    assert_eq!(hub.backend(), Backend::UserSpace);
}

#[test]
fn a_hub_in_this_process() {
    isolated("a_hub_in_this_process", &[], || {
        block_on_for(LIMIT, a_hub(Backend::UserSpace));
    });
}

#[test]
fn a_hub_of_wireguard_go() {
    isolated("a_hub_of_wireguard_go", &["wireguard-go"], || {
        if !Path::new("/dev/net/tun").exists() {
            return support::skip("there is no /dev/net/tun here");
        }
        all_of_it(Backend::WireguardGo);
        let folder = std::fs::read_dir("/var/run/wireguard").unwrap();
        let left = folder
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("lshub")
            })
            .count();
        assert_eq!(left, 0, "no control socket stays behind");
    });
}

const TO_BE_KILLED: &str = "LIGHTSHIP_TEST_HUB_TO_BE_KILLED";

/// A hub in a process of its own: says where it listens, and waits for its end.
#[test]
fn the_hub_that_is_killed() {
    if std::env::var_os(TO_BE_KILLED).is_none() {
        return;
    }
    block_on(async {
        let hub = Hub::start_with(config(), &[Backend::WireguardGo])
            .await
            .unwrap();
        println!("port {}", hub.local_address().unwrap().port());
        std::future::pending::<()>().await;
    });
}

#[test]
fn nothing_is_left_of_a_hub_that_is_killed() {
    isolated(
        "nothing_is_left_of_a_hub_that_is_killed",
        &["wireguard-go"],
        || {
            if !Path::new("/dev/net/tun").exists() {
                return support::skip("there is no /dev/net/tun here");
            }
            let before = of_the_machine();
            let mut hub = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "the_hub_that_is_killed", "--nocapture"])
                .env(TO_BE_KILLED, "yes")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(hub.stdout.take().unwrap()).lines();
            let port = lines
                .find_map(|line| line.unwrap().strip_prefix("port ")?.parse::<u16>().ok())
                .unwrap();
            let bind = || std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
            assert!(bind().is_err(), "wireguard-go has the port");
            hub.kill().unwrap();
            hub.wait().unwrap();
            let killed = Instant::now();
            while bind().is_err() {
                assert!(
                    killed.elapsed() < LIMIT,
                    "wireguard-go ends with its interface"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(of_the_machine(), before);
        },
    );
}

#[test]
fn a_hub_of_the_kernels_wireguard() {
    if machine::is_inside() {
        run("ip", &["link", "set", "lo", "up"]);
        return all_of_it(Backend::Kernel);
    }
    machine::run("a_hub_of_the_kernels_wireguard");
}

#[test]
fn where_there_is_no_module_the_hub_ends_its_tunnels_in_the_process() {
    block_on(async {
        let backends = [Backend::Kernel, Backend::UserSpace];
        let config = HubConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            ..config()
        };
        let hub = Hub::start_with(config, &backends).await.unwrap();
        assert_eq!(hub.backend(), Backend::UserSpace);
    });
}
