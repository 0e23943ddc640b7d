//! The tunnel hub: every device's WireGuard tunnel ends in this process, without root, or in the kernel.
//!
//! A device reaches two ports of the fleet through its tunnel, HTTP and MQTT, and no other
//! device; what it asks there it is asked to prove with its key as anywhere else. A device that
//! enrols reaches the registration route alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use lightship_core::id::{Endpoint, PublicKey as DeviceKey};
use lightship_core::wire;
use lightship_wireguard::hub::{Backend, Hub, HubConfig, HubError, Note, Peer};
use lightship_wireguard::{Buffers, PresharedKey, PublicKey, SecretKey, Stream, enrolment};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{Tunnel as Config, TunnelBackend};
use crate::db::{self, devices::Placed};
use crate::http::failure::{Answer, Failure};
use crate::http::listener::{Connection, Incoming};
use crate::http::peer::Peer as From;
use crate::{App, folder, http};

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
/// Connections that wait to be served.
const WAITING: usize = 64;

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
    /// `tunnel.enrolment_endpoint` is not `host:port`.
    #[error("tunnel.enrolment_endpoint must be host:port, at most 64 characters")]
    EnrolmentEndpoint,
}

/// The running hub.
pub(crate) struct Tunnel {
    hub: Hub,
    public: PublicKey,
    endpoint: Endpoint,
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
    ) -> Result<Self, TunnelError> {
        let made = || SecretKey::generate().0.to_vec();
        let secret = folder::keep(&data.join("hub.key"), made)?;
        let secret = SecretKey(
            secret
                .try_into()
                .map_err(|_| io::Error::other("hub.key must have 32 bytes"))?,
        );
        let public = secret.public();
        let enrolment = config.enrolment;
        let hub = HubConfig {
            secret,
            listen,
            enrolment,
            address: GATEWAY,
            guest_address: GUEST,
        };
        let hub = Hub::start_with(hub, backends(config.backend)).await?;
        tracing::info!(backend = ?hub.backend(), "the tunnel hub is open");
        let endpoint = match &config.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => hub.local_address()?.to_string(),
        };
        let endpoint = Endpoint::new(&endpoint).map_err(|_| TunnelError::Endpoint)?;
        let enrolment = enrolment.map(|_| hub.enrolment_address()).transpose()?;
        let enrolment_endpoint = config.enrolment_endpoint.clone();
        if let Some(endpoint) = &enrolment_endpoint {
            Endpoint::new(endpoint).map_err(|_| TunnelError::EnrolmentEndpoint)?;
        }
        Ok(Self {
            hub,
            public,
            endpoint,
            enrolment,
            enrolment_endpoint,
        })
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
        let peer = Peer {
            address,
            key: current,
            preshared: PresharedKey::default(),
        };
        // A peer that is there already keeps its tunnel.
        if self.hub.add(peer).is_ok()
            && let Some(next) = device.next_wireguard.as_deref().and_then(key)
        {
            let _ = self.hub.offer_key(address, next);
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
    pub(crate) fn of(&self, device: i64) -> wire::Tunnel {
        wire::Tunnel {
            hub: DeviceKey(self.public.0),
            endpoint: self.endpoint.clone(),
            address: address(device),
            gateway: GATEWAY,
            preshared: None,
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

/// Takes up what is stored, and serves devices inside their tunnels from now on.
pub(crate) async fn serve(
    app: &App,
    mqtt: SocketAddr,
) -> Result<Vec<JoinHandle<()>>, crate::StartError> {
    let Some(tunnel) = app.tunnel() else {
        return Ok(Vec::new());
    };
    for device in db::devices::placed(&app.db).await? {
        tunnel.admit(&device);
    }
    for key in db::provisioning_keys::valid(&app.db, crate::clock::now_ms()).await? {
        app.open_enrolment(&key);
    }
    let hub = |source: HubError| crate::StartError::Tunnel(source.into());
    let mut broker = tunnel.hub.listen(MQTT_PORT, Buffers::SMALL).map_err(hub)?;
    let mut devices = tunnel
        .hub
        .listen(HTTP_PORT, Buffers::default())
        .map_err(hub)?;
    let (to_devices, served) = mpsc::channel(WAITING);
    let at = SocketAddr::from((GATEWAY, HTTP_PORT));
    let mut tasks = vec![
        tokio::spawn(listen(
            app.clone(),
            Incoming::inside(served, at),
            http::inside(app.clone()),
        )),
        tokio::spawn(async move {
            while let Some((stream, from)) = devices.accept().await {
                if to_devices
                    .send((Connection::inside(stream), SocketAddr::from((from, 0))))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }),
        tokio::spawn(async move {
            while let Some((stream, _)) = broker.accept().await {
                tokio::spawn(join(stream, mqtt));
            }
        }),
        tokio::spawn(heed(app.clone(), tunnel.hub.notes())),
    ];
    if tunnel.enrolment.is_some() {
        let mut guests = tunnel
            .hub
            .listen_for_guests(HTTP_PORT, Buffers::SMALL)
            .map_err(hub)?;
        let (to_guests, served) = mpsc::channel(WAITING);
        tasks.push(tokio::spawn(listen(
            app.clone(),
            Incoming::inside(served, at),
            http::for_guests(app.clone()),
        )));
        tasks.push(tokio::spawn(async move {
            while let Some((stream, _)) = guests.accept().await {
                if to_guests
                    .send((Connection::inside(stream), SocketAddr::from((GUEST, 0))))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }));
    }
    Ok(tasks)
}

impl App {
    /// Lets microcontrollers enrol that hold the provisioning key with this identifier.
    pub(crate) fn open_enrolment(&self, id: &str) -> Option<lightship_api::Enrolment> {
        let tunnel = self.tunnel()?;
        let provisioning_key = hex::decode(self.secrets.provisioning_key(id)).ok()?;
        let hub = tunnel.open(self.secrets.hub_key(id), &provisioning_key)?;
        Some(lightship_api::Enrolment {
            endpoint: tunnel
                .enrolment_endpoint
                .clone()
                .unwrap_or(tunnel.enrolment?.to_string()),
            hub: hex::encode(hub.0),
        })
    }

    /// Lets nobody enrol any more with the provisioning key with this identifier.
    pub(crate) fn close_enrolment(&self, id: &str) {
        if let Some(tunnel) = self.tunnel() {
            tunnel.close(self.secrets.hub_key(id));
        }
    }
}

async fn listen(app: App, incoming: Incoming, router: axum::Router) {
    let service = router.into_make_service_with_connect_info::<From>();
    let stop = app.stop.clone().cancelled_owned();
    // The only error is one of accepting, and there is none of that.
    let _ = axum::serve(incoming, service)
        .with_graceful_shutdown(stop)
        .await;
}

async fn join(mut stream: Stream, broker: SocketAddr) {
    if let Ok(mut local) = TcpStream::connect(broker).await {
        // Either end may hang up whenever it likes.
        let _ = copy_bidirectional(&mut stream, &mut local).await;
    }
}

/// Stores which keys were retired.
async fn heed(app: App, mut notes: tokio::sync::broadcast::Receiver<Note>) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        let note = tokio::select! {
            () = app.stop.cancelled() => return,
            note = notes.recv() => note,
        };
        match note {
            Ok(Note::DeviceKeyRetired {
                address, current, ..
            }) => {
                if let Err(failure) = retired(&app, number(address), &hex::encode(current.0)).await
                {
                    tracing::error!(
                        cause = failure.text(),
                        "a retired tunnel key is accepted again after a restart"
                    );
                }
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn retired(app: &App, device: i64, current: &str) -> Answer<()> {
    let mut tx = app.db.write().await?;
    db::devices::retire_tunnel_key(&mut tx, device, current, crate::clock::now_ms()).await?;
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_an_address_of_its_own_and_none_is_the_gateways() {
        assert_eq!(address(0), Ipv4Addr::new(100, 64, 1, 0));
        assert_eq!(number(address(77_777)), 77_777);
        assert!(address(4_000_000) < GUEST && address(0) > GATEWAY);
    }
}
