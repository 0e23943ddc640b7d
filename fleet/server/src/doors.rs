//! Where the server is reached over HTTP: bound first, so that an address in use is told at once,
//! and served by whoever has the turn.

use std::io;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificate::{Certificate, CertificateError};
use crate::config::Config;
use crate::http::listener::{Incoming, Places};
use crate::http::serve::serve;
use crate::server::StartError;

/// The listening sockets.
pub(crate) struct Doors {
    https: TcpListener,
    http: Option<TcpListener>,
    places: Places,
}

impl Doors {
    /// Binds what the configuration names.
    pub(crate) fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            https: bind(config.https.listen)?,
            http: config.http.map(bind).transpose()?,
            places: Places::new(
                config.limits.connections,
                config.limits.connections_per_address,
            ),
        })
    }

    /// Where HTTPS is.
    pub(crate) fn https(&self) -> io::Result<SocketAddr> {
        self.https.local_addr()
    }

    /// Where plain HTTP is, if it is.
    pub(crate) fn http(&self) -> io::Result<Option<SocketAddr>> {
        self.http.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `stop`; after that, the doors can be served again.
    pub(crate) fn serve(
        &self,
        router: &Router,
        certificate: &Certificate,
        stop: &CancellationToken,
    ) -> Result<Vec<JoinHandle<()>>, CertificateError> {
        let tls = TlsAcceptor::from(certificate.server_config(b"http/1.1")?);
        let doors = [
            Some((&self.https, Some(tls))),
            self.http.as_ref().map(|door| (door, None)),
        ];
        let mut tasks = Vec::new();
        for (door, tls) in doors.into_iter().flatten() {
            let listener = tokio::net::TcpListener::from_std(door.try_clone()?)?;
            let (incoming, accepts) =
                Incoming::start(listener, tls, self.places.clone(), stop.clone());
            // It holds the port until it has ended.
            tasks.push(accepts);
            let served = serve(incoming, router.clone(), stop.clone());
            tasks.push(tokio::spawn(served));
        }
        Ok(tasks)
    }
}

/// Binds one address.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
