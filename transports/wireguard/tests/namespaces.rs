//! A device behind a NAT, in a network of three namespaces: one connection lives through a change of the device's address, of the hub's address, and through a link that loses, repeats and reorders.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "each test uses its part of it")]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lightship_wireguard::hub::{Hub, HubConfig, Peer};
use lightship_wireguard::tunnel::{Backend, KeepAlive, KeySet, Tunnel, TunnelConfig};
use lightship_wireguard::{Buffers, PresharedKey, SecretKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use support::{block_on_for, is_there, isolated, run, skip};

const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
/// TCP waits longer after each loss: seconds for each of the last messages.
const LIMIT: Duration = Duration::from_secs(240);
const ROLE: &str = "LIGHTSHIP_TEST_HUB_AT";
/// Whether the device at home is to have an interface.
const AS_INTERFACE: &str = "LIGHTSHIP_TEST_TUN";

fn hub_secret() -> SecretKey {
    SecretKey([1; 32])
}

fn keys() -> KeySet {
    KeySet {
        secret: SecretKey([2; 32]),
        hub: hub_secret().public(),
        preshared: PresharedKey([3; 32]),
    }
}

/// A process that ends with the test, and what it says: it could say no more if nobody held that.
struct Process(Child, BufReader<ChildStdout>);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Runs a command in the process's network.
    fn inside(&self, words: &str) {
        let id = self.0.id().to_string();
        let words: Vec<&str> = ["-t", &id, "-n"]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        run("nsenter", &words);
    }

    /// Tells the device what has changed.
    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

/// Starts it, and waits until it has said something: then it is in its own network.
fn in_a_network_of_its_own(program: &mut Command) -> Process {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    Process(child, said)
}

/// The hub, which knows the device.
async fn start_hub() -> Hub {
    let hub = Hub::start(HubConfig {
        secret: hub_secret(),
        listen: (Ipv4Addr::UNSPECIFIED, 51820).into(),
        enrolment: None,
        address: HUB,
        guest_address: Ipv4Addr::new(10, 77, 255, 254),
    })
    .await
    .unwrap();
    hub.add(Peer {
        address: DEVICE,
        key: keys().secret.public(),
        preshared: keys().preshared.clone(),
    })
    .unwrap();
    hub
}

/// The hub is here, the router has an address here and one at home, the device is at home.
fn build(hub_at: &str, as_interface: bool) -> (Process, Process) {
    let router = in_a_network_of_its_own(Command::new("unshare").args([
        "--net",
        "sh",
        "-c",
        "echo up; exec sleep 300",
    ]));
    let mut device = Command::new("unshare");
    device.arg("--net").arg(std::env::current_exe().unwrap());
    device
        .args(["--exact", "the_device_at_home", "--nocapture"])
        .env(ROLE, hub_at);
    if as_interface {
        device.env(AS_INTERFACE, "yes");
    }
    let device = in_a_network_of_its_own(&mut device);
    let (at_router, at_device) = (router.0.id().to_string(), device.0.id().to_string());
    run(
        "ip",
        &["link", "add", "h0", "type", "veth", "peer", "name", "r0"],
    );
    run("ip", &["link", "set", "r0", "netns", &at_router]);
    run(
        "ip",
        &["link", "add", "r1", "type", "veth", "peer", "name", "d0"],
    );
    run("ip", &["link", "set", "r1", "netns", &at_router]);
    run("ip", &["link", "set", "d0", "netns", &at_device]);
    run("ip", &["addr", "add", "203.0.113.1/24", "dev", "h0"]);
    run("ip", &["link", "set", "h0", "up"]);
    for words in [
        "ip link set lo up",
        "ip addr add 203.0.113.2/24 dev r0",
        "ip link set r0 up",
        "ip addr add 192.168.7.1/24 dev r1",
        "ip link set r1 up",
        "sysctl -q -w net.ipv4.ip_forward=1",
        "iptables -t nat -A POSTROUTING -o r0 -j MASQUERADE",
    ] {
        router.inside(words);
    }
    for words in [
        "ip link set lo up",
        "ip addr add 192.168.7.2/24 dev d0",
        "ip link set d0 up",
        "ip route add default via 192.168.7.1",
    ] {
        device.inside(words);
    }
    (router, device)
}

/// The device: echoes on port 22, and does as it is told.
#[test]
fn the_device_at_home() {
    let Ok(hub) = std::env::var(ROLE) else { return };
    println!("up");
    block_on_for(LIMIT, async {
        let (lines, mut told) = tokio::sync::mpsc::channel(8);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                if lines.blocking_send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        assert_eq!(told.recv().await.as_deref(), Some("go"));
        let config = TunnelConfig {
            keys: keys(),
            pending: None,
            hub: hub.parse().unwrap(),
            hub_address: HUB,
            address: DEVICE,
            keep_alive: KeepAlive::Learned,
        };
        let backend = match std::env::var_os(AS_INTERFACE) {
            Some(_) => Backend::Tun,
            None => Backend::InProcess,
        };
        let tunnel = Tunnel::open_with(config, &[backend]).await.unwrap();
        let mut listener = tunnel.listen(22, Buffers::default()).await.unwrap();
        tokio::spawn(async move {
            while let Some(stream) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        while let Some(line) = told.recv().await {
            match line.split_once(' ') {
                Some(("hub", hub)) => tunnel.move_hub(hub.parse().unwrap()),
                Some(("learn", least)) => {
                    let least: u16 = least.parse().unwrap();
                    while tunnel.stats().keep_alive_s < least {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    println!("learned {}", tunnel.stats().keep_alive_s);
                }
                _ => tunnel.network_changed(),
            }
        }
    });
}

/// A wire that loses three of ten datagrams, repeats one of ten, and delays each by up to 30 ms, so that they overtake each other.
///
/// Not the kernel's netem: that is a module that a machine may lack, and its luck cannot be repeated.
async fn bad_wire(hub: SocketAddr) -> SocketAddr {
    let outside = Arc::new(UdpSocket::bind("203.0.113.9:0").await.unwrap());
    let inside = Arc::new(UdpSocket::bind("203.0.113.9:0").await.unwrap());
    inside.connect(hub).await.unwrap();
    let address = outside.local_addr().unwrap();
    let (to_device, device) = tokio::sync::watch::channel(None);
    let (outside_too, inside_too) = (Arc::clone(&outside), Arc::clone(&inside));
    tokio::spawn(async move {
        let (mut buffer, mut weather) = ([0; 2048], Weather(1));
        while let Ok((length, from)) = outside.recv_from(&mut buffer).await {
            let _ = to_device.send(Some(from));
            for late in weather.next() {
                let (wire, bytes) = (Arc::clone(&inside_too), buffer[..length].to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    let _ = wire.send(&bytes).await;
                });
            }
        }
    });
    tokio::spawn(async move {
        let (mut buffer, mut weather) = ([0; 2048], Weather(2));
        while let Ok(length) = inside.recv(&mut buffer).await {
            let Some(to) = *device.borrow() else { continue };
            for late in weather.next() {
                let (wire, bytes) = (Arc::clone(&outside_too), buffer[..length].to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    let _ = wire.send_to(&bytes, to).await;
                });
            }
        }
    });
    address
}

/// What happens to one datagram after the other: seeded, so that luck does not decide whether the test passes.
struct Weather(u64);

impl Weather {
    /// The delays of the copies that arrive.
    fn next(&mut self) -> Vec<Duration> {
        let mut copies = 1;
        if self.below(100) < 30 {
            copies = 0;
        } else if self.below(100) < 10 {
            copies = 2;
        }
        (0..copies)
            .map(|_| Duration::from_millis(self.below(30)))
            .collect()
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn the_bad_wire_is_as_bad_as_it_says() {
    let mut weather = Weather(1);
    let mut copies = [0; 3];
    let mut overtaken = 0;
    let mut before = Duration::ZERO;
    for _ in 0..10_000 {
        let late = weather.next();
        copies[late.len()] += 1;
        if let Some(first) = late.first() {
            overtaken += usize::from(*first < before);
            before = *first;
        }
    }
    assert!((2_900..3_100).contains(&copies[0]), "{copies:?}");
    assert!((600..800).contains(&copies[2]), "{copies:?}");
    assert!(overtaken > 3_000, "{overtaken}");
}

#[test]
fn one_connection_lives_through_a_nat_a_move_of_either_end_and_a_wire_that_loses_three_of_ten() {
    for tool in ["nsenter", "iptables", "sysctl"] {
        if !is_there(tool) {
            return skip(&format!("there is no `{tool}` here"));
        }
    }
    isolated(
        "one_connection_lives_through_a_nat_a_move_of_either_end_and_a_wire_that_loses_three_of_ten",
        &[],
        || {
            block_on_for(LIMIT, async {
                let hub = start_hub().await;
                let (router, mut device) = build("203.0.113.1:51820", false);
                device.say("go");
                let mut stream = hub.dial(DEVICE, 22, Buffers::default()).await.unwrap();
                let mut echo = async |length: usize| {
                    let (bytes, mut back) = (vec![0x5a; length], vec![0; length]);
                    let (mut read, mut write) = tokio::io::split(&mut stream);
                    let (sent, got) =
                        tokio::join!(write.write_all(&bytes), read.read_exact(&mut back));
                    sent.unwrap();
                    got.unwrap();
                    assert!(back == bytes);
                };
                echo(50_000).await;
                let seen = hub.peer(DEVICE).unwrap().endpoint.unwrap();
                assert_eq!(
                    seen.ip(),
                    Ipv4Addr::new(203, 0, 113, 2),
                    "it comes through the NAT"
                );

                device.inside("ip addr add 192.168.7.3/24 dev d0");
                device.inside("ip addr del 192.168.7.2/24 dev d0");
                device.inside("ip addr replace 192.168.7.3/24 dev d0");
                device.inside("ip route replace default via 192.168.7.1 src 192.168.7.3");
                device.say("moved");
                echo(50_000).await;

                run("ip", &["addr", "add", "203.0.113.9/24", "dev", "h0"]);
                run("ip", &["addr", "del", "203.0.113.1/24", "dev", "h0"]);
                run("ip", &["addr", "replace", "203.0.113.9/24", "dev", "h0"]);
                device.say("hub 203.0.113.9:51820");
                echo(50_000).await;

                // The only way left is the bad wire.
                router.inside("iptables -I FORWARD -p udp --dport 51820 -j DROP");
                router.inside("iptables -I FORWARD -p udp --sport 51820 -j DROP");
                let wire = bad_wire("203.0.113.9:51820".parse().unwrap()).await;
                device.say(&format!("hub {wire}"));
                let at = |hub: &Hub| hub.peer(DEVICE).unwrap().endpoint.unwrap();
                while at(&hub).ip() != wire.ip() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // Each of them takes some retransmissions.
                for _ in 0..3 {
                    echo(600).await;
                }
                drop(router);
            });
        },
    );
}

/// A board with a TUN device behind a NAT that forgets after 70 s: the interval grows to 45 s, and the hub reaches the board after a silence that the customary 25 s would have broken twice.
///
/// It takes the two minutes that it is about, so it runs with `LIGHTSHIP_LONG=1` alone; the same in simulated time is `tunnel::system::learning`'s test.
#[test]
fn an_interface_learns_how_long_a_real_nat_remembers() {
    let name = "an_interface_learns_how_long_a_real_nat_remembers";
    if std::env::var_os("LIGHTSHIP_LONG").is_none() {
        return skip("two minutes of real time; LIGHTSHIP_LONG=1 runs it");
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return skip("there is no /dev/net/tun here");
    }
    isolated(name, &["nsenter", "iptables", "sysctl"], || {
        block_on_for(LIMIT, async {
            let hub = start_hub().await;
            // The device is a process of its own, which is told by this.
            let (router, mut device) = build("203.0.113.1:51820", true);
            for timeout in ["udp_timeout=70", "udp_timeout_stream=70"] {
                router.inside(&format!(
                    "sysctl -q -w net.netfilter.nf_conntrack_{timeout}"
                ));
            }
            device.say("go");
            device.say("learn 45");
            let mut line = String::new();
            while !line.starts_with("learned") {
                line.clear();
                assert!(device.1.read_line(&mut line).unwrap() > 0);
            }
            assert_eq!(line.trim(), "learned 45");
            let stream = hub.dial(DEVICE, 22, Buffers::default());
            tokio::time::timeout(Duration::from_secs(5), stream)
                .await
                .expect("it is reached at once")
                .unwrap();
        });
    });
}
