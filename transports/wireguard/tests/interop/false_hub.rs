//! A hub that sends what it must not: from another address, twice, cut short, and no message at all.

use std::net::Ipv4Addr;

use lightship_wireguard::tunnel::{Backend, KeySet, Tunnel};
use lightship_wireguard::{Now, Os, PresharedKey, SecretKey};
use tokio::net::UdpSocket;
use wireguard_sans_io::{Config, Encapsulated, Received};

use super::{DEVICE, HUB, device_config};

type Engine = wireguard_sans_io::Tunnel;

const NOW: Now = Now::new(1_000_000_000, 1_750_000_000, 0);

/// An IPv4 packet with a UDP datagram to port 9 of the device.
fn packet(from: Ipv4Addr, payload: u8) -> [u8; 29] {
    let mut packet = [0; 29];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&DEVICE.octets());
    let sum: u32 = packet[..20]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet[20..28].copy_from_slice(&[0, 9, 0, 9, 0, 9, 0, 0]);
    packet[28] = payload;
    packet
}

fn wire(engine: &mut Engine, packet: &[u8]) -> Vec<u8> {
    let mut out = [0; 2048];
    match engine.encapsulate(NOW, packet, &mut out, &mut Os) {
        Ok(Encapsulated::Transport(wire)) => wire.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Of all that the false hub sends only the two honest packets arrive, once; the kernel counts the ones from another address.
pub(super) async fn nothing_of_it_arrives(backend: Backend) {
    let secret = SecretKey::generate();
    let keys = KeySet {
        secret: SecretKey::generate(),
        hub: secret.public(),
        preshared: PresharedKey::default(),
    };
    let config = Config::new(secret.0.into(), keys.secret.public().0.into());
    let mut engine = Engine::new(config).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let config = device_config(keys, socket.local_addr().unwrap());
    let tunnel = Tunnel::open_with(config, &[backend]).await.unwrap();
    let device = connected(&mut engine, &socket).await;
    let arrivals = UdpSocket::bind((DEVICE, 9)).await.unwrap();

    let honest = wire(&mut engine, &packet(HUB, 1));
    let spoofed = wire(&mut engine, &packet(Ipv4Addr::new(10, 77, 9, 9), 2));
    let no_ip = wire(&mut engine, &[0; 29]);
    let last = wire(&mut engine, &packet(HUB, 3));
    let mut forged = honest.clone();
    *forged.last_mut().unwrap() ^= 1;
    let bad: [&[u8]; 8] = [
        &honest[..honest.len() - 1],
        &honest[..20],
        &forged,
        &honest,
        &spoofed,
        &no_ip,
        &[],
        &[1, 2, 3],
    ];
    for datagram in [&honest[..]].into_iter().chain(bad).chain([&last[..]]) {
        socket.send_to(datagram, device).await.unwrap();
    }
    let mut arrived = Vec::new();
    while arrived.last() != Some(&3) {
        let mut buffer = [0; 8];
        let (length, from) = arrivals.recv_from(&mut buffer).await.unwrap();
        assert_eq!((length, from.ip()), (1, HUB.into()));
        arrived.push(buffer[0]);
    }
    assert_eq!(arrived, [1, 3]);
    let mut least = 3;
    if backend == Backend::Kernel {
        let name = tunnel.interface().unwrap();
        let errors = format!("/sys/class/net/{name}/statistics/rx_frame_errors");
        let errors = std::fs::read_to_string(errors).unwrap();
        assert_eq!(errors.trim(), "2", "what was spoofed");
        least += 2;
    }
    // What is no message is counted once the tunnel has been looked at for the first time.
    while tunnel.stats().dropped < least {
        socket.send_to(&[1, 2, 3], device).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Does its part of the handshake that the device begins, until the device has used it.
async fn connected(engine: &mut Engine, socket: &UdpSocket) -> std::net::SocketAddr {
    loop {
        let (mut buffer, mut out) = ([0; 2048], [0; 2048]);
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        match engine.decapsulate(NOW, &[], false, &buffer[..length], &mut out, &mut Os) {
            Ok(Received::Reply(reply)) => {
                socket.send_to(reply, from).await.unwrap();
            }
            Ok(Received::Data(_) | Received::Keepalive) => return from,
            other => drop(other),
        }
    }
}
