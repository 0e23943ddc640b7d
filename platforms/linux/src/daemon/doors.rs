//! Doors into the tunnel: unix sockets whose connections go on to the fleet.
//!
//! The clients of HTTP and MQTT dial a door whatever carries the tunnel, so they know nothing of it, and a connection that goes in can come out nowhere but at the hub's address.
//! The folder is its owner's alone. A door opens only what the device itself may ask: who comes in has to show the device's key to the fleet all the same.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lightship_wireguard::Buffers;
use lightship_wireguard::tunnel::TunnelStream;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::tunnel::{Open, Opened};

/// How long a fleet that was reached before may take to answer.
const DIAL: Duration = Duration::from_secs(15);
/// How long a tunnel that is new may take for its first handshake; the first initiation may be lost.
const FIRST: Duration = Duration::from_secs(12);
/// How long a tunnel has that was silent ever since.
const LEAST: Duration = Duration::from_secs(2);
/// Connections at once through one door.
const CONNECTIONS: usize = 16;
/// Bytes on their way in each direction of a connection.
const BUFFER: usize = 16 * 1024;
/// How long to wait when the system is out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// What is behind a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Http,
    Mqtt,
}

/// The folder of the doors.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    folder: PathBuf,
}

impl Doors {
    /// Makes the folder, or closes it to everyone else.
    pub(super) fn new(run: &Path) -> io::Result<Self> {
        let folder = run.join("tunnel");
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder);
        made?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        Ok(Self { folder })
    }

    /// Where clients dial.
    pub(super) fn path(&self, service: Service) -> PathBuf {
        self.folder.join(match service {
            Service::Http => "http",
            Service::Mqtt => "mqtt",
        })
    }

    /// Opens a door and serves it for ever; poll it beside the clients.
    pub(super) fn serve(
        &self,
        service: Service,
        opened: Opened,
    ) -> io::Result<impl Future<Output = std::convert::Infallible> + use<>> {
        let path = self.path(service);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        Ok(accept(listener, service, opened))
    }
}

async fn accept(
    listener: UnixListener,
    service: Service,
    opened: Opened,
) -> std::convert::Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((client, _)) => {
                let opened = opened.clone();
                tokio::spawn(async move {
                    let _place = place;
                    join(client, service, opened).await;
                });
            }
            Err(_) => sleep(EXHAUSTED).await,
        }
    }
}

/// Carries one connection until an end hangs up or the tunnel is closed. Without a tunnel it ends at once.
async fn join(mut client: UnixStream, service: Service, mut opened: Opened) {
    let Some(open) = opened.borrow_and_update().clone() else {
        return;
    };
    let carried = async {
        match dial(&open, service).await {
            Ok(mut stream) => {
                let copied =
                    copy_bidirectional_with_sizes(&mut client, &mut stream, BUFFER, BUFFER);
                // Either end may hang up whenever it likes.
                let _ = copied.await;
            }
            Err(error) => tracing::debug!(%error, ?service, "nothing answers in the tunnel"),
        }
    };
    tokio::select! {
        () = carried => {}
        _ = opened.changed() => {}
    }
}

async fn dial(open: &Open, service: Service) -> io::Result<TunnelStream> {
    let port = match service {
        Service::Http => open.http_port,
        Service::Mqtt => open.mqtt_port,
    };
    let dialled = timeout(patience(open), open.tunnel.dial(port, Buffers::default()));
    dialled.await?
}

/// A hub that never answered gets less and less time, so that another way is tried soon.
fn patience(open: &Open) -> Duration {
    if open.tunnel.stats().last_handshake.is_some() {
        return DIAL;
    }
    let until = open.since + FIRST;
    until.saturating_duration_since(Instant::now()).max(LEAST)
}
