//! `cargo xtask bench wireguard`: throughput, handshakes, memory and idle cost, beside others where they can be measured here.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lightship_wireguard::hub::{Hub, HubConfig, Peer};
use lightship_wireguard::link::{Input, KeepAlive, KeySet, Link};
use lightship_wireguard::tunnel::{Backend, Tunnel, TunnelConfig};
use lightship_wireguard::{Buffers, Now, Os, PresharedKey, PublicKey, SecretKey, Ticks};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wireguard_sans_io::{Config, Encapsulated, PollOutput, Received};

const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const MEGABYTES: usize = 100;
const PEERS: usize = 1500;
const SECOND: u64 = 1_000_000_000;

fn main() {
    // The interfaces of the throughput figures belong in a network of their own.
    const MARK: &str = "LIGHTSHIP_BENCH_ISOLATED";
    if std::env::var_os(MARK).is_none() {
        let allowed = Command::new("unshare")
            .args(["--net", "true"])
            .stderr(Stdio::null())
            .status();
        if allowed.is_ok_and(|status| status.success()) {
            let mut isolated = Command::new("unshare");
            let status = isolated
                .arg("--net")
                .arg(std::env::current_exe().unwrap())
                .env(MARK, "yes")
                .status();
            std::process::exit(status.unwrap().code().unwrap_or(1));
        }
        println!("SKIPPED: the figures of others need a network namespace");
    } else {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
    }
    let others = std::env::var_os(MARK).is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(throughput(others));
    runtime.block_on(many_peers());
    idle();
}

fn row(name: &str, unit: &str, ours: f64, peer: Option<(f64, &str)>) {
    let peer = peer.map_or(String::new(), |(figure, name)| {
        format!(r#", "peer": {figure:.1}, "peer_name": "{name}""#)
    });
    println!(r#"{{"name": "{name}", "unit": "{unit}", "ours": {ours:.1}{peer}}}"#);
}

async fn hub() -> (Hub, PublicKey) {
    let secret = SecretKey::generate();
    let public = secret.public();
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let guest_address = Ipv4Addr::new(10, 77, 255, 254);
    let config = HubConfig {
        secret,
        listen,
        enrolment: None,
        address: HUB,
        guest_address,
    };
    (Hub::start(config).await.unwrap(), public)
}

/// The hub sends [`MEGABYTES`] to a device: ours in the process, gotatun and wireguard-go on TUN interfaces with the kernel's TCP. All have an MTU of 1420.
async fn throughput(others: bool) {
    let mut milliseconds = vec![through(Device::Ours).await];
    if others {
        milliseconds.push(through(Device::Gotatun).await);
        milliseconds.push(through(Device::WireguardGo).await);
    }
    let name = format!("{MEGABYTES} MB from the hub to a device");
    for (at, other) in [(1, "gotatun"), (2, "wireguard-go")] {
        let peer = milliseconds
            .get(at)
            .copied()
            .flatten()
            .map(|figure| (figure, other));
        row(
            &format!("{name}, in the process"),
            "ms",
            milliseconds[0].unwrap(),
            peer,
        );
    }
}

enum Device {
    Ours,
    Gotatun,
    WireguardGo,
}

async fn through(device: Device) -> Option<f64> {
    let (hub, public) = hub().await;
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
    let mut web = hub.listen(80, Buffers::LARGE).unwrap();
    tokio::spawn(async move {
        let chunk = vec![0x5a; 64 << 10];
        while let Some((mut stream, _)) = web.accept().await {
            while stream.write_all(&chunk).await.is_ok() {}
        }
    });
    let address = hub.local_address().unwrap();
    let config = TunnelConfig {
        keys: keys.clone(),
        pending: None,
        hub: address,
        hub_address: HUB,
        address: DEVICE,
        keep_alive: KeepAlive::Learned,
    };
    match device {
        Device::Ours => {
            let tunnel = Tunnel::open_with(config, &[Backend::InProcess])
                .await
                .unwrap();
            Some(download(tunnel.dial(80, Buffers::LARGE).await.unwrap()).await)
        }
        Device::Gotatun => {
            let tunnel = Tunnel::open_with(config, &[Backend::Tun]).await.ok()?;
            Some(download(tunnel.dial(80, Buffers::LARGE).await.unwrap()).await)
        }
        Device::WireguardGo => {
            let _process = Go::start("lshipbenchgo", &keys, address)?;
            Some(download(TcpStream::connect((HUB, 80)).await.unwrap()).await)
        }
    }
}

/// Milliseconds for [`MEGABYTES`], after a tenth of them to warm up.
async fn download(mut stream: impl AsyncRead + Unpin) -> f64 {
    let mut buffer = vec![0; 256 << 10];
    let mut read = async |megabytes: usize| {
        let mut left = megabytes * 1_000_000;
        while left > 0 {
            let most = left.min(buffer.len());
            left -= stream.read(&mut buffer[..most]).await.unwrap();
        }
    };
    read(MEGABYTES / 10).await;
    let started = Instant::now();
    read(MEGABYTES).await;
    started.elapsed().as_secs_f64() * 1e3
}

/// Debian's wireguard-go, as a device of the hub.
struct Go(Child, &'static str);

impl Go {
    fn start(name: &'static str, keys: &KeySet, hub: SocketAddr) -> Option<Self> {
        use wireguard_control::{DeviceUpdate, KeyPair, PeerConfigBuilder};
        let process = Command::new("wireguard-go")
            .args(["-f", name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = Self(process.ok()?, name);
        let socket = format!("/var/run/wireguard/{name}.sock");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let key = |bytes: &[u8; 32]| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            wireguard_control::Key::from_hex(&hex).unwrap()
        };
        let peer = PeerConfigBuilder::new(&key(&keys.hub.0))
            .set_preshared_key(key(&keys.preshared.0))
            .add_allowed_ip(HUB.into(), 32)
            .set_endpoint(hub);
        let update = DeviceUpdate::new()
            .set_keypair(KeyPair::from_private(key(&keys.secret.0)))
            .add_peer(peer);
        update
            .apply(
                &name.parse().unwrap(),
                wireguard_control::Backend::Userspace,
            )
            .unwrap();
        let other = format!("{HUB}/32");
        for words in [
            [
                "addr",
                "add",
                &DEVICE.to_string(),
                "peer",
                &other,
                "dev",
                name,
            ]
            .as_slice(),
            &["link", "set", name, "mtu", "1420", "up"],
        ] {
            assert!(Command::new("ip").args(words).status().unwrap().success());
        }
        Some(process)
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.1));
    }
}

/// What a handshake costs the hub, and what it keeps for a device that then says nothing.
async fn many_peers() {
    let (hub, public) = hub().await;
    let address = hub.local_address().unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut buffer = [0; 2048];
    // The first ones pay for what all share.
    for n in 0..100 {
        connect(&hub, public, n, &socket, &mut buffer);
    }
    let (resident, spent, own) = (resident_bytes(), cpu_seconds(), own_seconds());
    for n in 100..100 + PEERS {
        connect(&hub, public, n, &socket, &mut buffer);
        // Below the rate at which the hub asks for cookies.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let microseconds = (cpu_seconds() - spent - (own_seconds() - own)) * 1e6 / PEERS as f64;
    row("one handshake, work of the hub", "µs", microseconds, None);
    let name = "handshakes that one core of the hub does (more is better)";
    row(name, "a second", 1e6 / microseconds, None);
    let each = (resident_bytes() - resident) as f64 / PEERS as f64;
    let boringtun = boringtun_bytes();
    row(
        "memory of an idle peer in the hub",
        "B",
        each,
        Some((boringtun, "boringtun, the tunnel alone")),
    );
}

fn connect(hub: &Hub, public: PublicKey, n: usize, socket: &UdpSocket, buffer: &mut [u8; 2048]) {
    let mut seed = [7; 32];
    seed[8..16].copy_from_slice(&(n as u64).to_le_bytes());
    let secret = SecretKey(seed);
    let address = Ipv4Addr::from_bits(DEVICE.to_bits() + 1 + n as u32);
    hub.add(Peer {
        address,
        key: secret.public(),
        preshared: PresharedKey::default(),
    })
    .unwrap();
    let config = Config::new(seed.into(), public.0.into());
    let mut engine = wireguard_sans_io::Tunnel::new(config).unwrap();
    let mut out = [0; 2048];
    let now = Now::new(SECOND, 1_750_000_000, 0);
    let Ok(Encapsulated::HandshakeInitiation(wire)) =
        engine.encapsulate(now, b"x", &mut out, &mut Os)
    else {
        panic!()
    };
    socket.send(wire).unwrap();
    let length = socket.recv(buffer).unwrap();
    let done = engine.decapsulate(now, &[], false, &buffer[..length], &mut out, &mut Os);
    assert!(matches!(done, Ok(Received::HandshakeComplete)));
    let Ok(PollOutput::Send(wire, _)) = engine.poll(now, &mut out, &mut Os) else {
        panic!()
    };
    socket.send(wire).unwrap();
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Processor time of all threads, or of this one.
fn seconds_of(path: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn cpu_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads
        .map(|thread| seconds_of(thread.unwrap().path().join("schedstat").to_str().unwrap()))
        .sum()
}

/// The devices' side runs on the thread that blocks on the figures.
fn own_seconds() -> f64 {
    seconds_of("/proc/thread-self/schedstat")
}

/// Resident memory of one boringtun tunnel, which has no connection and no address yet.
fn boringtun_bytes() -> f64 {
    let secret = boringtun::x25519::StaticSecret::from([1; 32]);
    let before = resident_bytes();
    let tunnels: Vec<_> = (0..PEERS)
        .map(|n| {
            let peer = boringtun::x25519::PublicKey::from(&boringtun::x25519::StaticSecret::from(
                [(n % 200) as u8 + 2; 32],
            ));
            Box::new(boringtun::noise::Tunn::new(
                secret.clone(),
                peer,
                None,
                None,
                n as u32,
                None,
            ))
        })
        .collect();
    let bytes = (resident_bytes() - before) as f64 / tunnels.len() as f64;
    drop(tunnels);
    bytes
}

/// Bytes on the wire, IPv4 and UDP headers included, of a day on which nothing happens: simulated time, behind a NAT that remembers for ten minutes.
fn idle() {
    let mut day = Day::new();
    day.run(3 * 3600);
    let before = day.bytes;
    day.run(24 * 3600);
    row(
        "a day of silence",
        "B",
        (day.bytes - before) as f64,
        Some((persistent(25) as f64, "keep-alive every 25 s")),
    );
    row(
        "a day of silence through an interface, once it has learned",
        "B",
        persistent(252) as f64,
        Some((persistent(25) as f64, "keep-alive every 25 s")),
    );
}

struct Day {
    link: Link,
    hub: wireguard_sans_io::Tunnel,
    now: u64,
    bytes: u64,
    /// When an echo is due, and what it is.
    echo: Option<(u64, [u8; 5])>,
}

impl Day {
    fn new() -> Self {
        let (hub, device) = (SecretKey([1; 32]), SecretKey([2; 32]));
        let keys = KeySet {
            secret: device.clone(),
            hub: hub.public(),
            preshared: PresharedKey::default(),
        };
        Self {
            link: Link::new(now(0), keys, None, KeepAlive::Learned).unwrap(),
            hub: wireguard_sans_io::Tunnel::new(Config::new(
                hub.0.into(),
                device.public().0.into(),
            ))
            .unwrap(),
            now: 0,
            bytes: 0,
            echo: None,
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + seconds * SECOND;
        while self.now < end {
            let mut buffer = [0; 2048];
            while let Some(length) = self.link.poll(now(self.now), &mut buffer, &mut Os) {
                self.hub_gets(&buffer[..length]);
            }
            if let Some((_, echo)) = self.echo.take_if(|(at, _)| *at <= self.now) {
                self.device_gets(&echo);
            }
            while let Ok(PollOutput::Send(wire, _)) =
                self.hub.poll(now(self.now), &mut buffer, &mut Os)
            {
                let wire = wire.to_vec();
                self.device_gets(&wire);
            }
            let echo = self.echo.map(|(at, _)| Ticks::from_nanos(at));
            let next = [Some(self.link.wake()), self.hub.next_wake(), echo]
                .into_iter()
                .flatten()
                .min()
                .unwrap();
            self.now = next.nanos().max(self.now + 1_000_000);
        }
    }

    fn hub_gets(&mut self, datagram: &[u8]) {
        self.bytes += datagram.len() as u64 + 28;
        let mut out = [0; 2048];
        match *datagram {
            [0] => {}
            // A probe: so many seconds, and what to answer.
            [0, s1, s0, a, b, c, d] => {
                let after = u64::from(u16::from_be_bytes([s1, s0])) * SECOND;
                self.echo = Some((self.now + after, [0xfe, a, b, c, d]));
            }
            _ => {
                let answer =
                    self.hub
                        .decapsulate(now(self.now), &[], false, datagram, &mut out, &mut Os);
                if let Ok(Received::Reply(wire)) = answer {
                    let wire = wire.to_vec();
                    self.device_gets(&wire);
                }
            }
        }
    }

    fn device_gets(&mut self, datagram: &[u8]) {
        self.bytes += datagram.len() as u64 + 28;
        let mut out = [0; 2048];
        if let Input::Reply(wire) = self
            .link
            .receive(now(self.now), datagram, &mut out, &mut Os)
        {
            let wire = wire.to_vec();
            self.hub_gets(&wire);
        }
    }
}

/// The same day with WireGuard's persistent keep-alive, every so many seconds.
fn persistent(seconds: u16) -> u64 {
    let (hub, device) = (SecretKey([1; 32]), SecretKey([2; 32]));
    let mut config = Config::new(device.0.into(), hub.public().0.into());
    config.persistent_keepalive = std::num::NonZeroU16::new(seconds);
    let mut ends = [
        wireguard_sans_io::Tunnel::new(config).unwrap(),
        wireguard_sans_io::Tunnel::new(Config::new(hub.0.into(), device.public().0.into()))
            .unwrap(),
    ];
    let (mut at, mut bytes) = (0, 0);
    while at < 24 * 3600 * SECOND {
        let mut wires = Vec::new();
        for (end, tunnel) in ends.iter_mut().enumerate() {
            let mut buffer = [0; 2048];
            while let Ok(PollOutput::Send(wire, _)) = tunnel.poll(now(at), &mut buffer, &mut Os) {
                wires.push((1 - end, wire.to_vec()));
            }
        }
        while let Some((end, wire)) = wires.pop() {
            bytes += wire.len() as u64 + 28;
            let mut buffer = [0; 2048];
            if let Ok(Received::Reply(wire)) =
                ends[end].decapsulate(now(at), &[], false, &wire, &mut buffer, &mut Os)
            {
                wires.push((1 - end, wire.to_vec()));
            }
        }
        let next = ends.iter().filter_map(|end| end.next_wake()).min().unwrap();
        at = next.nanos().max(at + 1_000_000);
    }
    bytes
}

fn now(nanoseconds: u64) -> Now {
    Now::new(
        nanoseconds,
        1_750_000_000 + nanoseconds / SECOND,
        (nanoseconds % SECOND) as u32,
    )
}
