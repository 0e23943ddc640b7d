//! What devices reach through their tunnels: the fleet's HTTP and MQTT, and guests the registration alone.

use std::net::SocketAddr;

use lightship_wireguard::Buffers;
use lightship_wireguard::Stream;
use lightship_wireguard::hub::{GuestListener, HubError, Listener, Note};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{GUEST, HTTP_PORT, MQTT_PORT};
use crate::http::listener::{Connection, Incoming};
use crate::{App, db, http};

/// Connections that wait to be served.
const WAITING: usize = 64;

/// Takes up what is stored, and serves devices inside their tunnels from now on.
pub(crate) async fn serve(
    app: &App,
    broker: SocketAddr,
) -> Result<Vec<JoinHandle<()>>, crate::StartError> {
    let Some(tunnel) = app.tunnel() else {
        return Ok(Vec::new());
    };
    for device in db::places::placed(&app.db).await? {
        tunnel.admit(&device);
        if let Some(known) = app.roster.find(&device.uuid) {
            known.owe(tunnel.owed(&device));
        }
    }
    for key in db::provisioning_keys::valid(&app.db, crate::clock::now_ms()).await? {
        app.open_enrolment(&key);
    }
    let mqtt = app.config.tunnel.mqtt.unwrap_or(broker);
    let hub = |source: HubError| crate::StartError::Tunnel(source.into());
    let broker = tunnel.hub.listen(MQTT_PORT, Buffers::SMALL).map_err(hub)?;
    let devices = tunnel
        .hub
        .listen(HTTP_PORT, Buffers::default())
        .map_err(hub)?;
    let (arrivals, served) = mpsc::channel(WAITING);
    let mut tasks = vec![
        tokio::spawn(listen(app.clone(), served, http::inside(app.clone()))),
        until_the_stop(app, let_devices_in(devices, arrivals)),
        until_the_stop(app, join_all(broker, mqtt)),
        tokio::spawn(heed(app.clone(), tunnel.hub.notes())),
    ];
    if tunnel.enrolment.is_some() {
        let guests = tunnel
            .hub
            .listen_for_guests(HTTP_PORT, Buffers::SMALL)
            .map_err(hub)?;
        let (arrivals, served) = mpsc::channel(WAITING);
        tasks.push(tokio::spawn(listen(
            app.clone(),
            served,
            http::for_guests(app.clone()),
        )));
        tasks.push(until_the_stop(app, let_guests_in(guests, arrivals)));
    }
    Ok(tasks)
}

/// Does what would never end otherwise.
fn until_the_stop(app: &App, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let stop = app.stop.clone();
    tokio::spawn(async move {
        // Nothing is half done when it is given up: a connection is let in or is not.
        let _ = stop.run_until_cancelled(work).await;
    })
}

type Arrivals = mpsc::Sender<(Connection, SocketAddr)>;

async fn let_devices_in(mut devices: Listener, arrivals: Arrivals) {
    while let Some((stream, from)) = devices.accept().await {
        let arrival = (Connection::inside(stream), (from, 0).into());
        if arrivals.send(arrival).await.is_err() {
            return;
        }
    }
}

async fn let_guests_in(mut guests: GuestListener, arrivals: Arrivals) {
    while let Some((stream, _)) = guests.accept().await {
        let arrival = (Connection::inside(stream), (GUEST, 0).into());
        if arrivals.send(arrival).await.is_err() {
            return;
        }
    }
}

async fn join_all(mut devices: Listener, broker: SocketAddr) {
    while let Some((stream, _)) = devices.accept().await {
        tokio::spawn(join(stream, broker));
    }
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

async fn listen(app: App, served: mpsc::Receiver<(Connection, SocketAddr)>, router: axum::Router) {
    let incoming = Incoming::inside(served);
    http::serve::serve(incoming, router, app.stop.clone()).await;
}

async fn join(mut stream: Stream, broker: SocketAddr) {
    if let Ok(mut local) = TcpStream::connect(broker).await {
        // Either end may hang up whenever it likes.
        let _ = copy_bidirectional(&mut stream, &mut local).await;
    }
}

/// Stores which keys were used, and thereby retired.
async fn heed(app: App, mut notes: tokio::sync::broadcast::Receiver<Note>) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        let note = tokio::select! {
            () = app.stop.cancelled() => return,
            note = notes.recv() => note,
        };
        let note = match note {
            Ok(note) => note,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if let Err(failure) = app.used(note).await {
            tracing::error!(
                cause = failure.text(),
                "a key that was replaced is accepted again after a restart"
            );
        }
    }
}
