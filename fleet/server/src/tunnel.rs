//! The tunnel hub: every device's WireGuard tunnel ends in this process, without root, or in the kernel.
//!
//! A device reaches two ports of the fleet through its tunnel, HTTP and MQTT, and no other
//! device; what it asks there it is asked to prove with its key as anywhere else. A device that
//! enrols reaches the registration route alone.

mod keys;
mod rotation;
mod serve;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lightship_core::id::{Endpoint, PresharedKey as DevicePreshared, PublicKey as DeviceKey};
use lightship_core::wire;
use lightship_wireguard::hub::{Backend, Hub, HubConfig, HubError, Peer};
use lightship_wireguard::{Buffers, PresharedKey, PublicKey, SecretKey, Stream, enrolment};

use self::keys::{HubKey, Kept};
pub(crate) use self::serve::serve;
use crate::config::{Tunnel as Config, TunnelBackend};
use crate::db::places::Placed;
use crate::http::failure::{Answer, Failure};
use crate::secret::Secrets;

/// The fleet's address inside every tunnel.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
/// The address of a device that enrols.
const GUEST: Ipv4Addr = Ipv4Addr::new(100, 127, 255, 254);
/// The first address of devices: 100.64.0.0/10 is for networks of carriers (RFC 6598).
const FIRST: u32 = u32::from_be_bytes([100, 64, 1, 0]);
/// TCP port of MQTT at the gateway.
const MQTT_PORT: u16 = 1883;
/// TCP port of HTTP at the gateway.
const HTTP_PORT: u16 = 80;
/// How long a device may take to answer a connection.
const DIAL: Duration = Duration::from_secs(20);

/// Why the hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The hub itself says no.
    #[error("tunnel hub: {0}")]
    Hub(#[from] HubError),
    /// Its key cannot be kept, or its port not be known.
    #[error("tunnel hub: {0}")]
    File(#[from] io::Error),
    /// `tunnel.endpoint` is not `host:port`.
    #[error("tunnel.endpoint must be host:port, at most 64 characters")]
    Endpoint,
    /// Devices would be told an address that is nobody's.
    #[error(
        "tunnel.listen = {0} is every address of this machine, which is none that a device can reach: set tunnel.endpoint to the host:port that devices reach it at"
    )]
    NoEndpoint(SocketAddr),
    /// The same for devices that enrol.
    #[error(
        "tunnel.enrolment = {0} is every address of this machine, which is none that a device can reach: set tunnel.enrolment_endpoint to the host:port that devices reach it at"
    )]
    NoEnrolmentEndpoint(SocketAddr),
    /// The hub's key answers on a port that is no longer configured.
    #[error(
        "the hub's newest key answers on the second port since it was rotated: set tunnel.second_port to what it was"
    )]
    SecondPort,
    /// `tunnel.enrolment_endpoint` is not `host:port`.
    #[error("tunnel.enrolment_endpoint must be host:port, at most 64 characters")]
    EnrolmentEndpoint,
}

/// The running hub.
pub(crate) struct Tunnel {
    hub: Hub,
    keys: Mutex<Kept>,
    /// Whether each of the hub's keys has a UDP port of its own.
    has_port_for_each: bool,
    first_port: u16,
    second_port: Option<u16>,
    /// Where devices reach the first port, and the second.
    endpoints: [Endpoint; 2],
    secrets: Secrets,
    /// Where devices enrol.
    pub(crate) enrolment: Option<SocketAddr>,
    /// Where they reach that from outside, if it is elsewhere.
    enrolment_endpoint: Option<String>,
}

/// The address of a device with this number.
fn address(number: i64) -> Ipv4Addr {
    Ipv4Addr::from(FIRST.saturating_add(u32::try_from(number).unwrap_or_default()))
}

fn number(address: Ipv4Addr) -> i64 {
    i64::from(u32::from(address).saturating_sub(FIRST))
}

fn key(hexadecimal: &str) -> Option<PublicKey> {
    Some(PublicKey(hex::decode(hexadecimal).ok()?.try_into().ok()?))
}

/// In which order ways of ending tunnels are tried.
fn backends(chosen: TunnelBackend) -> &'static [Backend] {
    match chosen {
        TunnelBackend::UserSpace => &[Backend::UserSpace],
        TunnelBackend::Kernel => &[Backend::Kernel],
        TunnelBackend::Auto => &[Backend::Kernel, Backend::UserSpace],
    }
}

impl Tunnel {
    /// Opens the hub's ports.
    pub(crate) async fn start(
        config: &Config,
        listen: SocketAddr,
        data: &std::path::Path,
        secrets: Secrets,
    ) -> Result<Self, TunnelError> {
        check(config, listen)?;
        let kept = Kept::open(data)?;
        let (hub, has_port_for_each) = open(config, listen, &kept.current).await?;
        tracing::info!(backend = ?hub.backend(), "the tunnel hub is open");
        let second = config.second_port.filter(|_| has_port_for_each);
        let first_port = match listen.port() {
            0 => hub.local_address()?.port(),
            port => port,
        };
        let tunnel = Self {
            endpoints: endpoints(config, hub.local_address()?, second)?,
            enrolment: config
                .enrolment
                .map(|_| hub.enrolment_address())
                .transpose()?,
            hub,
            has_port_for_each,
            first_port,
            second_port: config.second_port,
            secrets,
            enrolment_endpoint: config.enrolment_endpoint.clone(),
            keys: Mutex::new(kept),
        };
        let former = tunnel.keys().former.clone();
        if let Some(former) = former {
            let port = tunnel.port_of(&former).ok_or(TunnelError::SecondPort)?;
            tunnel.hub.add_key_at(former.secret, port)?;
        }
        Ok(tunnel)
    }

    fn keys(&self) -> MutexGuard<'_, Kept> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The UDP port that a key answers on, if it is known.
    fn port_of(&self, key: &HubKey) -> Option<u16> {
        if key.second && self.has_port_for_each {
            self.second_port
        } else {
            Some(self.first_port)
        }
    }

    /// A pre-shared key of a device; each has a number, and none is stored.
    fn preshared_key(&self, uuid: &str, number: i64) -> PresharedKey {
        PresharedKey(self.secrets.tunnel_key(uuid, number))
    }

    /// The UDP address that is really listened on.
    pub(crate) fn listens_on(&self) -> Option<SocketAddr> {
        self.hub.local_address().ok()
    }

    /// Lets a device in, or takes up what is stored of it.
    pub(crate) fn admit(&self, device: &Placed) {
        let Some(current) = device.wireguard.as_deref().and_then(key) else {
            return;
        };
        let address = address(device.address);
        let preshared = |number| self.preshared_key(&device.uuid.to_text(), number);
        let peer = Peer {
            address,
            key: current,
            preshared: device.preshared.map(preshared).unwrap_or_default(),
        };
        // A peer that is there already keeps its tunnel.
        if self.hub.add(peer).is_err() {
            return;
        }
        if let Some(next) = device.next_wireguard.as_deref().and_then(key) {
            let _ = self.hub.offer_key(address, next);
        }
        if let Some(next) = device.next_preshared {
            let _ = self.hub.offer_preshared(address, preshared(next));
        }
    }

    /// Shuts a device out.
    pub(crate) fn dismiss(&self, device: i64) {
        let _ = self.hub.remove(address(device));
    }

    /// Accepts a new key of a device beside the one in use.
    pub(crate) fn offer(&self, device: i64, new: &DeviceKey) {
        let _ = self.hub.offer_key(address(device), PublicKey(new.0));
    }

    /// What a device is told of its tunnel.
    pub(crate) fn of(&self, device: &Placed) -> wire::Tunnel {
        let (hub, second) = {
            let keys = self.keys();
            (keys.current.secret.public(), keys.current.second)
        };
        let number = device.next_preshared.or(device.preshared);
        let preshared = number.map(|number| self.preshared_key(&device.uuid.to_text(), number));
        wire::Tunnel {
            hub: DeviceKey(hub.0),
            endpoint: self.endpoints[usize::from(second)].clone(),
            address: address(device.address),
            gateway: GATEWAY,
            preshared: preshared.map(|key| DevicePreshared(key.0)),
            mqtt_port: MQTT_PORT,
            http_port: HTTP_PORT,
        }
    }

    /// How long ago a device's tunnel last completed a handshake.
    pub(crate) fn last_handshake(&self, device: i64) -> Option<Duration> {
        self.hub.peer(address(device))?.last_handshake
    }

    /// Connects to a port of a device.
    pub(crate) async fn dial(&self, device: i64, port: u16) -> Answer<Stream> {
        let dialled = tokio::time::timeout(
            DIAL,
            self.hub.dial(address(device), port, Buffers::default()),
        )
        .await;
        let silent = || Failure::unavailable("the device does not answer");
        dialled
            .map_err(|_| silent())?
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    Failure::conflict(format!("nothing on the device listens on port {port}"))
                }
                io::ErrorKind::QuotaExceeded => {
                    Failure::unavailable("too many connections are open")
                }
                _ => silent(),
            })
    }

    /// Lets devices enrol that hold a provisioning key; returns the hub's public key for it.
    pub(crate) fn open(&self, hub_secret: [u8; 32], provisioning_key: &[u8]) -> Option<PublicKey> {
        self.enrolment?;
        let secret = SecretKey(hub_secret);
        let public = secret.public();
        let opened = self
            .hub
            .open_enrolment(secret, enrolment::preshared_key(provisioning_key));
        if let Err(error) = &opened {
            tracing::warn!(%error, "a provisioning key does not open an enrolment tunnel");
        }
        opened.ok().map(|()| public)
    }

    /// Ends the enrolment tunnel of a provisioning key.
    pub(crate) fn close(&self, hub_secret: [u8; 32]) {
        self.hub.retire_key(&SecretKey(hub_secret).public());
    }
}

/// Refuses addresses that no device could reach.
fn check(config: &Config, listen: SocketAddr) -> Result<(), TunnelError> {
    if listen.ip().is_unspecified() && config.endpoint.is_none() {
        return Err(TunnelError::NoEndpoint(listen));
    }
    let enrolment = config.enrolment.filter(|at| at.ip().is_unspecified());
    match (enrolment, &config.enrolment_endpoint) {
        (Some(at), None) => Err(TunnelError::NoEnrolmentEndpoint(at)),
        (_, Some(endpoint)) => match Endpoint::new(endpoint) {
            Ok(_) => Ok(()),
            Err(_) => Err(TunnelError::EnrolmentEndpoint),
        },
        (None, None) => Ok(()),
    }
}

/// The hub on the first back end that this machine has, and whether each key has a port of its own there.
async fn open(
    config: &Config,
    listen: SocketAddr,
    key: &HubKey,
) -> Result<(Hub, bool), TunnelError> {
    let mut refused = HubError::NoBackend;
    for backend in backends(config.backend) {
        let has_port_for_each = *backend != Backend::UserSpace;
        let mut listen = listen;
        if has_port_for_each && key.second {
            listen.set_port(config.second_port.ok_or(TunnelError::SecondPort)?);
        }
        let hub = HubConfig {
            secret: key.secret.clone(),
            listen,
            enrolment: config.enrolment,
            address: GATEWAY,
            guest_address: GUEST,
        };
        match Hub::start_with(hub, &[*backend]).await {
            Ok(hub) => return Ok((hub, has_port_for_each)),
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}

/// Where devices reach the hub's first port, and its second.
fn endpoints(
    config: &Config,
    listens_on: SocketAddr,
    second: Option<u16>,
) -> Result<[Endpoint; 2], TunnelError> {
    let endpoint = |text: &str| Endpoint::new(text).map_err(|_| TunnelError::Endpoint);
    let first = config.endpoint.clone().unwrap_or(listens_on.to_string());
    let (host, _) = first.rsplit_once(':').ok_or(TunnelError::Endpoint)?;
    let second = second.map_or(first.clone(), |port| format!("{host}:{port}"));
    Ok([endpoint(&first)?, endpoint(&second)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_no_device_can_reach_is_refused_with_what_to_set() {
        let every: SocketAddr = "0.0.0.0:51820".parse().unwrap();
        let mut config = Config::default();
        let said = check(&config, every).unwrap_err().to_string();
        assert!(said.contains("set tunnel.endpoint"), "{said}");
        config.endpoint = Some("fleet.example:51820".into());
        check(&config, every).unwrap();
        config.enrolment = Some("[::]:51821".parse().unwrap());
        let said = check(&config, every).unwrap_err().to_string();
        assert!(said.contains("set tunnel.enrolment_endpoint"), "{said}");
        config.enrolment_endpoint = Some("fleet.example:51821".into());
        check(&config, every).unwrap();
        config = Config::default();
        check(&config, "127.0.0.1:51820".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_second_key_of_the_kernel_is_reached_at_the_same_host() {
        let at = "127.0.0.1:51820".parse().unwrap();
        let config = Config {
            endpoint: Some("[2001:db8::1]:4000".into()),
            ..Config::default()
        };
        let texts = |second| {
            endpoints(&config, at, second)
                .unwrap()
                .map(|one| one.to_string())
        };
        assert_eq!(
            texts(Some(51822)),
            ["[2001:db8::1]:4000", "[2001:db8::1]:51822"]
        );
        assert_eq!(texts(None)[1], "[2001:db8::1]:4000");
    }

    #[test]
    fn every_device_has_an_address_of_its_own_and_none_is_the_gateways() {
        assert_eq!(address(0), Ipv4Addr::new(100, 64, 1, 0));
        assert_eq!(number(address(77_777)), 77_777);
        assert!(address(4_000_000) < GUEST && address(0) > GATEWAY);
    }
}
