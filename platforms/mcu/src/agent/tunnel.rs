//! The tunnel that is wanted, and the ways through it.
//!
//! One driver and one stack live as long as the agent; which tunnel they go through, and where its other end is, changes under them.

use core::cell::{Cell, RefCell};
use core::net::{Ipv4Addr, SocketAddrV4};

use embassy_net::{ConfigV4, Ipv4Cidr, Stack, StaticConfigV4};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embedded_storage::nor_flash::NorFlash;
use lightship_core::id::Endpoint;
use lightship_core::{Credentials, Failure, TunnelKey};
use lightship_link::{Credentials as LinkCredentials, Secret, Unreachable};
use lightship_wireguard::embassy::{Board as TunnelBoard, Control, Wire};
use lightship_wireguard::link::{KeepAlive, KeySet};
use lightship_wireguard::{
    EntropyError, EntropySource, PresharedKey, PublicKey, SecretKey, enrolment,
};

use super::names::number;
use super::records::{Key, Records};
use super::sockets::{self, Connection, Socket, Sockets};
use super::{Board, Outside};
use crate::config::Entrance;
use crate::limits::RESOLVE_AFTER;

/// The fleet's address inside every tunnel.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
/// The same, as requests name it.
pub(super) const GATEWAY_NAME: &str = "100.64.0.1";
/// The address of a device that enrols.
const GUEST: Ipv4Addr = Ipv4Addr::new(100, 127, 255, 254);
/// Where the fleet's HTTP is inside the enrolment tunnel.
const HTTP_PORT: u16 = 80;
/// Only the gateway is reached, but it is not in the device's own subnet.
const PREFIX: u8 = 10;

/// Where everything is, once a tunnel is wanted.
pub(super) struct Ways {
    /// Always, where there is nothing else.
    use_mqtt: bool,
    /// The other end of the tunnel, by name; counts up with each change.
    hub: RefCell<Option<Endpoint>>,
    version: Cell<u32>,
    http: Cell<Option<SocketAddrV4>>,
    mqtt: Cell<Option<SocketAddrV4>>,
    /// What the tunnel was made of last.
    keys: RefCell<Option<KeySet>>,
    /// Who the device is in its own tunnel.
    credentials: RefCell<Option<LinkCredentials>>,
    opened: Signal<NoopRawMutex, ()>,
}

impl Ways {
    pub(super) const fn new(use_mqtt: bool) -> Self {
        Self {
            use_mqtt,
            hub: RefCell::new(None),
            version: Cell::new(0),
            http: Cell::new(None),
            mqtt: Cell::new(None),
            keys: RefCell::new(None),
            credentials: RefCell::new(None),
            opened: Signal::new(),
        }
    }

    /// Who the device is, once it is registered.
    pub(super) fn credentials(&self) -> Option<LinkCredentials> {
        self.credentials.borrow().clone()
    }

    /// Waits until a tunnel is opened.
    pub(super) async fn changed(&self) {
        self.opened.wait().await;
    }

    /// Opens the tunnel that these credentials ask for.
    pub(super) fn open(
        &self,
        credentials: &Credentials<'_>,
        entrance: Option<&Entrance>,
        stack: Stack<'_>,
        control: &Control<NoopRawMutex>,
    ) -> Result<(), Failure> {
        match credentials {
            Credentials::Enrolment {
                provisioning_key,
                wireguard,
                ..
            } => {
                let entrance = entrance.ok_or(Failure::Unusable)?;
                let keys = KeySet {
                    secret: secret(wireguard)?,
                    hub: PublicKey(entrance.hub.0),
                    preshared: enrolment::preshared_key(&provisioning_key.0),
                };
                self.http.set(Some(SocketAddrV4::new(GATEWAY, HTTP_PORT)));
                // Guests reach the registration alone, and have nothing to show for their logs.
                self.mqtt.set(None);
                *self.credentials.borrow_mut() = None;
                self.switch(keys, &entrance.endpoint, control);
                configure(stack, GUEST, GATEWAY);
            }
            Credentials::Device {
                uuid,
                api_key,
                wireguard,
                tunnel,
                ..
            } => {
                *self.credentials.borrow_mut() = Some(LinkCredentials {
                    uuid: *uuid,
                    secret: Secret::Api(**api_key),
                });
                let tunnel = tunnel.ok_or(Failure::Unusable)?;
                let preshared = tunnel.preshared.as_ref().map(|key| PresharedKey(key.0));
                let keys = KeySet {
                    secret: secret(wireguard)?,
                    hub: PublicKey(tunnel.hub.0),
                    preshared: preshared.unwrap_or_default(),
                };
                let http = SocketAddrV4::new(tunnel.gateway, tunnel.http_port);
                self.http.set(Some(http));
                let mqtt = SocketAddrV4::new(tunnel.gateway, tunnel.mqtt_port);
                self.mqtt.set(self.use_mqtt.then_some(mqtt));
                self.switch(keys, &tunnel.endpoint, control);
                configure(stack, tunnel.address, tunnel.gateway);
            }
        }
        self.opened.signal(());
        Ok(())
    }

    fn switch(&self, keys: KeySet, hub: &Endpoint, control: &Control<NoopRawMutex>) {
        let is_elsewhere = self.hub.borrow().as_ref() != Some(hub);
        if is_elsewhere {
            *self.hub.borrow_mut() = Some(hub.clone());
            self.version.set(self.version.get().wrapping_add(1));
        }
        if is_elsewhere || self.keys.borrow().as_ref() != Some(&keys) {
            *self.keys.borrow_mut() = Some(keys.clone());
            control.replace(keys, KeepAlive::Learned);
        }
    }
}

fn secret(key: &TunnelKey<'_>) -> Result<SecretKey, Failure> {
    match key {
        TunnelKey::Inside(secret) => Ok(SecretKey(secret.0)),
        TunnelKey::Outside(_) => Err(Failure::Unusable),
    }
}

fn configure(stack: Stack<'_>, address: Ipv4Addr, gateway: Ipv4Addr) {
    let wanted = StaticConfigV4 {
        address: Ipv4Cidr::new(address, PREFIX),
        gateway: Some(gateway),
        dns_servers: Default::default(),
    };
    if stack.config_v4().as_ref() != Some(&wanted) {
        stack.set_config_v4(ConfigV4::Static(wanted));
    }
}

/// The tunnel's datagrams on the board's network; the hub is found by name and followed when it moves.
pub(super) struct Datagrams<'w, B, O> {
    board: &'w RefCell<&'w mut B>,
    outside: O,
    ways: &'w Ways,
    version: u32,
    hub: Option<SocketAddrV4>,
    from: Option<SocketAddrV4>,
    /// Datagrams sent since the hub last proved to be there.
    unanswered: u32,
}

impl<'w, B: Board, O: Outside> Datagrams<'w, B, O> {
    pub(super) fn new(board: &'w RefCell<&'w mut B>, outside: O, ways: &'w Ways) -> Self {
        Self {
            board,
            outside,
            ways,
            version: 0,
            hub: None,
            from: None,
            unanswered: 0,
        }
    }

    async fn find(&mut self) -> Option<SocketAddrV4> {
        let version = self.ways.version.get();
        if version != self.version {
            (self.version, self.hub) = (version, None);
        }
        if self.hub.is_none() || self.unanswered >= RESOLVE_AFTER {
            self.unanswered = 0;
            let endpoint = self.ways.hub.borrow().clone()?;
            let (host, port) = parts(&endpoint)?;
            let mut number = [0; 2];
            // Without randomness there is no handshake either.
            let _ = self.board.borrow_mut().random(&mut number);
            let number = u16::from_ne_bytes(number);
            // Where the name is not found, the hub may still be where it was.
            if let Some(address) = self.outside.resolve(host, number).await {
                self.hub = Some(SocketAddrV4::new(address, port));
            }
        }
        self.hub
    }
}

/// Host and port.
fn parts(endpoint: &Endpoint) -> Option<(&str, u16)> {
    let text = endpoint.as_str();
    let colon = text.bytes().rposition(|byte| byte == b':')?;
    let port = number(text.as_bytes().get(colon + 1..)?)?;
    Some((text.get(..colon)?, port))
}

impl<B: Board, O: Outside> Wire for Datagrams<'_, B, O> {
    async fn send(&mut self, datagram: &[u8]) {
        // Without an address it is lost; the tunnel tries again.
        if let Some(hub) = self.find().await {
            self.unanswered = self.unanswered.saturating_add(1);
            self.outside.send(hub, datagram).await;
        }
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> usize {
        let (length, from) = self.outside.receive(buffer).await;
        self.from = Some(from);
        length
    }

    fn authenticated(&mut self) {
        self.unanswered = 0;
        if self.version == self.ways.version.get() && self.from.is_some() {
            self.hub = self.from;
        }
    }
}

/// What the tunnel needs of the board.
pub(super) struct Chance<'b, B, R: NorFlash> {
    pub(super) board: &'b RefCell<&'b mut B>,
    pub(super) records: &'b RefCell<Records<R>>,
}

impl<B: Board, R: NorFlash> EntropySource for Chance<'_, B, R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let filled = self.board.borrow_mut().random(bytes);
        filled.map_err(|_| EntropyError)
    }
}

impl<B: Board, R: NorFlash> TunnelBoard for Chance<'_, B, R> {
    async fn store_floor(&mut self, floor_s: u64) -> bool {
        let bytes = floor_s.to_le_bytes();
        let mut records = self.records.borrow_mut();
        records.store(Key::TunnelTime, &bytes).is_ok()
    }
}

/// Opens connections to one port of the fleet inside the tunnel.
pub(super) struct Way<'w, 'd> {
    sockets: &'w [Socket<'d>],
    to: &'w Cell<Option<SocketAddrV4>>,
}

impl<'w, 'd> Way<'w, 'd> {
    /// To HTTP, for one request.
    pub(super) fn post(sockets: &'w Sockets<'d>, ways: &'w Ways) -> Self {
        Self {
            sockets: &sockets.post,
            to: &ways.http,
        }
    }

    #[cfg(feature = "http")]
    pub(super) fn http(sockets: &'w Sockets<'d>, ways: &'w Ways) -> Self {
        Self {
            sockets: &sockets.http,
            to: &ways.http,
        }
    }

    pub(super) fn mqtt(sockets: &'w Sockets<'d>, ways: &'w Ways) -> Self {
        Self {
            sockets: &sockets.mqtt,
            to: &ways.mqtt,
        }
    }

    fn connect(
        &self,
    ) -> impl Future<Output = Result<Connection<'w, 'd>, Unreachable>> + use<'w, 'd> {
        sockets::connect(self.sockets, self.to.get())
    }
}

impl<'w, 'd> lightship_https::post::Dial for Way<'w, 'd> {
    type Stream<'s>
        = Connection<'w, 'd>
    where
        Self: 's;

    fn dial(&self) -> impl Future<Output = Result<Connection<'w, 'd>, Unreachable>> {
        self.connect()
    }
}

impl<'w, 'd> lightship_mqtt::device::Dial for Way<'w, 'd> {
    type Stream<'s>
        = Connection<'w, 'd>
    where
        Self: 's;

    fn dial(&mut self) -> impl Future<Output = Result<Connection<'w, 'd>, Unreachable>> {
        self.connect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_host_and_a_port() {
        let of = |text| {
            let endpoint = Endpoint::new(text).unwrap();
            parts(&endpoint).map(|(host, port)| (host == "hub.example.org", port))
        };
        assert_eq!(of("hub.example.org:51820"), Some((true, 51820)));
        assert_eq!(of("10.0.2.2:1"), Some((false, 1)));
        for none in [
            "hub:65536",
            "hub:99999999999999999999",
            "hub:1a",
            "hub:-1",
            "hub:",
            "hub",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
