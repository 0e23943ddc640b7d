//! An interface that ends the tunnels of one hub key: the kernel's WireGuard, or wireguard-go on a TUN device. Driven through `wireguard-control` either way.
//!
//! It lives in the hub's namespace, its UDP socket in the machine's.

use std::io;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wireguard_control::{Device, DeviceUpdate, InterfaceName, KeyPair, PeerConfigBuilder};

use super::super::Backend;
use super::links;
use super::namespace::Gate;
use super::roster::{Change, Seen};
use crate::interface::control::{bytes, key, remove_socket, sockets};
use crate::interface::outside::{Nonsense, Outside};
use crate::keys::{PublicKey, SecretKey};
use crate::{interface, limits};

/// The program, as Debian installs it.
const WIREGUARD_GO: &str = "wireguard-go";

/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// How long a UDP port may take to become free.
const FREED: Duration = Duration::from_secs(3);

/// Names tried: those of wireguard-go's interfaces are shared by all namespaces of the machine.
const NAMES: u8 = 8;

/// One interface.
pub(super) struct Carrier {
    name: InterfaceName,
    control: wireguard_control::Backend,
    program: Option<Child>,
    pub(super) hub: PublicKey,
    pub(super) port: u16,
    /// Counts what the interface drops without a word; none without the right to raw sockets.
    outside: Option<Outside>,
}

impl Carrier {
    /// Makes an interface that answers to `secret` on this UDP port of every address; on any port for zero.
    pub(super) fn open(
        gate: &Gate,
        backend: Backend,
        secret: &SecretKey,
        port: u16,
    ) -> io::Result<Self> {
        let (name, program) = gate.outside(|| match backend {
            Backend::Kernel => kernel(gate),
            Backend::WireguardGo => wireguard_go(gate),
            Backend::UserSpace => Err(io::ErrorKind::Unsupported.into()),
        })?;
        let control = match backend {
            Backend::WireguardGo => wireguard_control::Backend::Userspace,
            Backend::Kernel | Backend::UserSpace => wireguard_control::Backend::Kernel,
        };
        // From here on dropping it takes it away again.
        let mut carrier = Self {
            name,
            control,
            program,
            hub: secret.public(),
            port,
            outside: None,
        };
        carrier.raise(secret)?;
        let port = carrier.port;
        carrier.outside = gate.outside(|| Outside::open(port)).ok();
        Ok(carrier)
    }

    fn raise(&mut self, secret: &SecretKey) -> io::Result<()> {
        let name = self.name();
        DeviceUpdate::new()
            .set_keypair(KeyPair::from_private(key(&secret.0)?))
            .set_listen_port(self.port)
            .apply(&self.name, self.control)?;
        links::wall(&name)?;
        up(&name)?;
        // An interface that is up has its socket; one that could not have it is not up.
        let device = Device::get(&self.name, self.control)?;
        self.port = device
            .listen_port
            .filter(|port| *port != 0)
            .ok_or(io::ErrorKind::AddrInUse)?;
        Ok(())
    }

    /// What arrived and was no message.
    pub(super) fn nonsense(&mut self) -> Nonsense {
        self.outside.as_mut().map(Outside::look).unwrap_or_default()
    }

    pub(super) fn name(&self) -> String {
        self.name.as_str_lossy().into_owned()
    }

    /// Tells the interface what changed among its peers; nobody else among them notices.
    pub(super) fn tell(&self, changes: &[Change]) -> io::Result<()> {
        let mut update = DeviceUpdate::new();
        let mut any = false;
        for change in changes {
            let peer = match change {
                Change::Peer {
                    key: peer,
                    preshared,
                    address,
                } => {
                    let peer = PeerConfigBuilder::new(&key(&peer.0)?)
                        .set_preshared_key(key(&preshared.0)?)
                        .replace_allowed_ips();
                    match address {
                        Some(address) => peer.add_allowed_ip(IpAddr::V4(*address), 32),
                        None => peer,
                    }
                }
                Change::Preshared {
                    key: peer,
                    preshared,
                } => PeerConfigBuilder::new(&key(&peer.0)?).set_preshared_key(key(&preshared.0)?),
                Change::Remove { key: peer } => PeerConfigBuilder::new(&key(&peer.0)?).remove(),
                Change::Route { .. } => continue,
            };
            update = update.add_peer(peer);
            any = true;
        }
        if any {
            update.apply(&self.name, self.control)?;
        }
        Ok(())
    }

    /// What the interface says of its peers.
    pub(super) fn look(&self) -> io::Result<Vec<Seen>> {
        let device = Device::get(&self.name, self.control)?;
        let seen = device.peers.into_iter().filter_map(|peer| {
            Some(Seen {
                hub: self.hub,
                key: PublicKey(bytes(&peer.config.public_key)?),
                endpoint: peer.config.endpoint,
                handshake: peer.stats.last_handshake_time,
                received: peer.stats.rx_bytes,
                sent: peer.stats.tx_bytes,
            })
        });
        Ok(seen.collect())
    }
}

/// An interface of a hub that has just ended may hold its UDP port a little longer than the hub lived.
fn up(name: &str) -> io::Result<()> {
    let started = Instant::now();
    loop {
        match interface::up(name, limits::MTU) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && started.elapsed() < FREED => {
                // The kernel logs each time.
                std::thread::sleep(10 * LOOK);
            }
            done => return done,
        }
    }
}

/// Takes the interface away. The thread inside owns it, and nobody else drops it.
impl Drop for Carrier {
    fn drop(&mut self) {
        // The namespace takes with it what cannot be deleted now.
        let _ = interface::delete(&self.name());
        if let Some(mut program) = self.program.take() {
            let _ = program.kill();
            let _ = program.wait();
            remove_socket(&self.name);
        }
    }
}

fn kernel(gate: &Gate) -> io::Result<(InterfaceName, Option<Child>)> {
    for n in 0..NAMES {
        let name = format!("hub{n}");
        match links::make(&name, gate.inside()) {
            Ok(()) => return Ok((parse(&name)?, None)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn wireguard_go(gate: &Gate) -> io::Result<(InterfaceName, Option<Child>)> {
    let mut number = [0; 4];
    crate::entropy::fill(&mut number);
    let name = parse(&format!("lshub{:08x}", u32::from_le_bytes(number)))?;
    let program = Command::new(WIREGUARD_GO)
        .args(["-f", &name.as_str_lossy()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut program = Unready(Some(program));
    let control = sockets(&name.as_str_lossy())
        .next()
        .ok_or(io::ErrorKind::NotFound)?;
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(&control).is_err() {
        if program.has_ended() || started.elapsed() > READY {
            return Err(io::Error::other("wireguard-go does not start"));
        }
        std::thread::sleep(LOOK);
    }
    links::put_into(&name.as_str_lossy(), gate.inside())?;
    Ok((name, program.0.take()))
}

/// A program that is stopped unless it becomes ready.
struct Unready(Option<Child>);

impl Unready {
    fn has_ended(&mut self) -> bool {
        let ended = self.0.as_mut().map(Child::try_wait);
        !matches!(ended, Some(Ok(None)))
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        if let Some(program) = &mut self.0 {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

fn parse(name: &str) -> io::Result<InterfaceName> {
    name.parse().map_err(io::Error::from)
}
