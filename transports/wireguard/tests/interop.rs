//! Against WireGuard as others wrote it: wireguard-go, and the Linux kernel's inside a virtual machine. Each test says when it did not run.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "interop/false_hub.rs"]
mod false_hub;
#[path = "interop/machine.rs"]
mod machine;
#[allow(dead_code, reason = "each test uses its part of it")]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use lightship_wireguard::hub::{Hub, HubConfig, Peer};
use lightship_wireguard::limits::ECHO_PORT;
use lightship_wireguard::link::LinkNote;
use lightship_wireguard::tunnel::{Backend, KeepAlive, KeySet, Tunnel, TunnelConfig};
use lightship_wireguard::{Buffers, PresharedKey, PublicKey, SecretKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{Foreign, Setting, block_on, isolated, run};

const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);

/// Sends a hundred kilobytes from one end to the other and back.
async fn echo(mut a: impl AsyncRead + AsyncWrite + Unpin, b: impl AsyncRead + AsyncWrite + Unpin) {
    let bytes: Vec<u8> = (0..100_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let (mut read, mut write) = tokio::io::split(b);
    let back = async {
        let mut buffer = vec![0; bytes.len()];
        read.read_exact(&mut buffer).await.unwrap();
        write.write_all(&buffer).await.unwrap();
    };
    let forth = async {
        let mut buffer = vec![0; bytes.len()];
        a.write_all(&bytes).await.unwrap();
        a.read_exact(&mut buffer).await.unwrap();
        assert!(buffer == bytes);
    };
    tokio::join!(back, forth);
}

async fn our_hub() -> (Hub, PublicKey) {
    let secret = SecretKey::generate();
    let public = secret.public();
    let config = HubConfig {
        secret,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        enrolment: None,
        address: HUB,
        guest_address: Ipv4Addr::new(10, 77, 255, 254),
    };
    (Hub::start(config).await.unwrap(), public)
}

fn device_config(keys: KeySet, hub: SocketAddr) -> TunnelConfig {
    TunnelConfig {
        keys,
        pending: None,
        hub,
        hub_address: HUB,
        address: DEVICE,
        keep_alive: KeepAlive::Learned,
    }
}

/// A device that is theirs, and a hub that is ours.
async fn their_device(raise: impl FnOnce(&Setting<'_>) -> Foreign) {
    let (hub, public) = our_hub().await;
    let (secret, preshared) = (SecretKey::generate(), PresharedKey::generate());
    hub.add(Peer {
        address: DEVICE,
        key: secret.public(),
        preshared: preshared.clone(),
    })
    .unwrap();
    let foreign = raise(&Setting {
        secret: &secret,
        peer: public,
        preshared: &preshared,
        endpoint: Some(hub.local_address().unwrap()),
        listen: None,
        address: DEVICE,
        peer_address: HUB,
    });
    let mut web = hub.listen(80, Buffers::default()).unwrap();
    let there = TcpStream::connect((HUB, 80)).await.unwrap();
    let (here, from) = web.accept().await.unwrap();
    assert_eq!(from, DEVICE);
    echo(there, here).await;
    let ssh = TcpListener::bind((DEVICE, 22)).await.unwrap();
    let here = hub.dial(DEVICE, 22, Buffers::default()).await.unwrap();
    let (there, _) = ssh.accept().await.unwrap();
    echo(here, there).await;
    assert!(foreign.has_handshake());
}

/// A hub that is theirs, and a device that is ours, without any right.
async fn their_hub(raise: impl FnOnce(&Setting<'_>) -> Foreign) {
    let secret = SecretKey::generate();
    let keys = KeySet {
        secret: SecretKey::generate(),
        hub: secret.public(),
        preshared: PresharedKey::generate(),
    };
    let foreign = raise(&Setting {
        secret: &secret,
        peer: keys.secret.public(),
        preshared: &keys.preshared,
        endpoint: None,
        listen: Some(51820),
        address: HUB,
        peer_address: DEVICE,
    });
    let config = device_config(keys, (Ipv4Addr::LOCALHOST, 51820).into());
    let tunnel = Tunnel::open_with(config, &[Backend::InProcess])
        .await
        .unwrap();
    let web = TcpListener::bind((HUB, 80)).await.unwrap();
    let here = tunnel.dial(80, Buffers::default()).await.unwrap();
    let (there, from) = web.accept().await.unwrap();
    assert_eq!(from.ip(), DEVICE);
    echo(here, there).await;
    let mut ssh = tunnel.listen(22, Buffers::default()).await.unwrap();
    let there = TcpStream::connect((DEVICE, 22)).await.unwrap();
    let here = ssh.accept().await.unwrap();
    echo(there, here).await;
    assert!(foreign.has_handshake());
}

/// Our device as an interface of the system, and our hub.
async fn our_interface(backend: Backend) {
    let (hub, public) = our_hub().await;
    let keys = KeySet {
        secret: SecretKey::generate(),
        hub: public,
        preshared: PresharedKey::generate(),
    };
    hub.add(Peer {
        address: DEVICE,
        key: keys.secret.public(),
        preshared: keys.preshared.clone(),
    })
    .unwrap();
    let config = device_config(keys.clone(), hub.local_address().unwrap());
    let tunnel = Tunnel::open_with(config.clone(), &[backend]).await.unwrap();
    assert_eq!(tunnel.backend(), backend);
    let mut notes = tunnel.notes();
    let mut web = hub.listen(80, Buffers::default()).unwrap();
    let there = tunnel.dial(80, Buffers::default()).await.unwrap();
    let (here, from) = web.accept().await.unwrap();
    assert_eq!(from, DEVICE);
    echo(there, here).await;
    let mut ssh = tunnel.listen(22, Buffers::default()).await.unwrap();
    let here = hub.dial(DEVICE, 22, Buffers::default()).await.unwrap();
    let there = ssh.accept().await.unwrap();
    echo(here, there).await;
    echo_after_a_silence(&tunnel).await;
    while notes.recv().await.unwrap() != LinkNote::Reachable {}
    let stats = tunnel.stats();
    assert_eq!(stats.keep_alive_s, 25, "nothing is learned so early");
    assert!(stats.last_handshake.is_some() && stats.received > 0 && stats.sent > 0);

    // New keys while it runs.
    let new = KeySet {
        secret: SecretKey::generate(),
        preshared: PresharedKey::generate(),
        ..keys
    };
    hub.offer_key(DEVICE, new.secret.public()).unwrap();
    hub.offer_preshared(DEVICE, new.preshared.clone()).unwrap();
    tunnel.offer_keys(new.clone()).unwrap();
    while notes.recv().await.unwrap() != LinkNote::KeysConfirmed {}
    assert_eq!(hub.peer(DEVICE).unwrap().key, new.secret.public());
    let there = tunnel.dial(80, Buffers::default()).await.unwrap();
    let (here, _) = web.accept().await.unwrap();
    echo(there, here).await;

    // A second tunnel of the same device gets a name of its own while the first one lives.
    let other = KeySet {
        secret: SecretKey::generate(),
        ..new
    };
    let second = Tunnel::open_with(
        TunnelConfig {
            keys: other,
            ..config
        },
        &[backend],
    )
    .await
    .unwrap();
    let names = [tunnel.interface().unwrap(), second.interface().unwrap()];
    assert_ne!(names[0], names[1]);
    drop((tunnel, second));
    for name in names {
        while interface_exists(&name) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(leftovers(), "", "no address and no route stays behind");
}

/// What the interval of keep-alives is learned with: the hub says something so many seconds after it was asked, here one.
async fn echo_after_a_silence(tunnel: &Tunnel) {
    let mut stream = tunnel.dial(ECHO_PORT, Buffers::SMALL).await.unwrap();
    let asked = std::time::Instant::now();
    stream.write_all(&[0, 0, 1, 5, 6, 7, 8]).await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0xfe, 5, 6, 7, 8]);
    assert!(asked.elapsed() >= Duration::from_secs(1));
    let mut nonsense = tunnel.dial(ECHO_PORT, Buffers::SMALL).await.unwrap();
    nonsense.write_all(b"nothing").await.unwrap();
    let ended = nonsense.read(&mut answer).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "it is not answered");
}

fn interface_exists(name: &str) -> bool {
    let shown = std::process::Command::new("ip")
        .args(["link", "show", "dev", name])
        .output()
        .unwrap();
    shown.status.success()
}

/// Whatever mentions a tunnel address.
fn leftovers() -> String {
    let mut left = String::new();
    for words in [["addr", "show"], ["route", "show"]] {
        let shown = std::process::Command::new("ip")
            .args(words)
            .output()
            .unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        left.extend(
            text.lines()
                .filter(|line| line.contains("10.77."))
                .map(str::to_owned),
        );
    }
    left
}

#[test]
fn wireguard_go_as_a_device_of_our_hub() {
    isolated(
        "wireguard_go_as_a_device_of_our_hub",
        &["wireguard-go"],
        || {
            block_on(their_device(|setting| Foreign::go("lshipgodev", setting)));
        },
    );
}

#[test]
fn wireguard_go_as_the_hub_of_our_device() {
    isolated(
        "wireguard_go_as_the_hub_of_our_device",
        &["wireguard-go"],
        || {
            block_on(their_hub(|setting| Foreign::go("lshipgohub", setting)));
        },
    );
}

#[test]
fn our_device_on_a_tun_interface() {
    isolated("our_device_on_a_tun_interface", &[], || {
        if !std::path::Path::new("/dev/net/tun").exists() {
            return support::skip("there is no /dev/net/tun here");
        }
        block_on(our_interface(Backend::Tun));
        block_on(false_hub::nothing_of_it_arrives(Backend::Tun));
    });
}

#[test]
fn names_that_others_have_are_left_alone_and_the_stack_in_the_process_is_what_remains() {
    let name = "names_that_others_have_are_left_alone_and_the_stack_in_the_process_is_what_remains";
    isolated(name, &[], || {
        for pair in [
            ["lship0a4d0101", "lship0a4d0101b"],
            ["lship0a4d0101c", "lship0a4d0101d"],
        ] {
            run(
                "ip",
                &[
                    "link", "add", pair[0], "type", "veth", "peer", "name", pair[1],
                ],
            );
        }
        block_on(async {
            let (hub, public) = our_hub().await;
            let keys = KeySet {
                secret: SecretKey::generate(),
                hub: public,
                preshared: PresharedKey::default(),
            };
            let tunnel = Tunnel::open(device_config(keys, hub.local_address().unwrap()))
                .await
                .unwrap();
            assert_eq!(tunnel.backend(), Backend::InProcess);
            drop(tunnel);
        });
        assert!(
            ["", "b", "c", "d"]
                .iter()
                .all(|end| interface_exists(&format!("lship0a4d0101{end}")))
        );
    });
}

#[test]
fn the_kernel_as_a_device_as_a_hub_and_as_our_back_end() {
    if machine::is_inside() {
        run("ip", &["link", "set", "lo", "up"]);
        block_on(their_device(|setting| Foreign::kernel("wg0", setting)));
        block_on(their_hub(|setting| Foreign::kernel("wg0", setting)));
        block_on(our_interface(Backend::Kernel));
        block_on(false_hub::nothing_of_it_arrives(Backend::Kernel));
        return;
    }
    machine::run("the_kernel_as_a_device_as_a_hub_and_as_our_back_end");
}
