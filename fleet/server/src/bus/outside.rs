//! MQTT over TLS, from outside: handshakes beside each other and each within its time, so many
//! connections at once and so many from one address. The broker's own listener would wait for
//! the handshake of one peer before it accepts the next.

use std::io;
use std::net::{SocketAddr, TcpListener};

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::App;
use crate::http::listener::{Connection, Incoming, Places};

/// Accepts until the server stops, and carries to the broker what comes out of TLS.
pub(crate) fn serve(
    app: &App,
    listener: TcpListener,
    tls: TlsAcceptor,
    broker: SocketAddr,
) -> io::Result<[JoinHandle<()>; 2]> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let limits = &app.config.limits;
    let places = Places::new(app.config.mqtt.max_clients, limits.connections_per_address);
    let (incoming, accepts) = Incoming::start(listener, Some(tls), places, app.stop.clone());
    Ok([accepts, tokio::spawn(carry_all(incoming, broker))])
}

/// Ends when nothing is accepted any more; what is connected ends with the broker.
async fn carry_all(mut incoming: Incoming, broker: SocketAddr) {
    while let Some((connection, _)) = incoming.next().await {
        tokio::spawn(carry(connection, broker));
    }
}

async fn carry(mut connection: Connection, broker: SocketAddr) {
    if let Ok(mut inside) = TcpStream::connect(broker).await {
        let _ = inside.set_nodelay(true);
        // Either end may hang up whenever it likes.
        let _ = copy_bidirectional(&mut connection, &mut inside).await;
    }
}
