//! Where the server is reached over HTTP: bound first, so that an address in use is told at once,
//! and served by whoever has the turn.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificate::{Certificate, CertificateError};
use crate::config::Config;
use crate::http::listener::Incoming;
use crate::http::peer::Peer;
use crate::server::StartError;

/// The listening sockets.
pub(crate) struct Doors {
    https: TcpListener,
    http: Option<TcpListener>,
    connections: usize,
}

impl Doors {
    /// Binds what the configuration names.
    pub(crate) fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            https: bind(config.https.listen)?,
            http: config.http.map(bind).transpose()?,
            connections: config.limits.connections,
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
        let tls = TlsAcceptor::from(certificate.server_config()?);
        let places = Arc::new(Semaphore::new(self.connections));
        let doors = [
            Some((&self.https, Some(tls))),
            self.http.as_ref().map(|door| (door, None)),
        ];
        let mut tasks = Vec::new();
        for (door, tls) in doors.into_iter().flatten() {
            let listener = tokio::net::TcpListener::from_std(door.try_clone()?)?;
            let incoming = Incoming::start(listener, tls, Arc::clone(&places), stop.clone())?;
            let service = router.clone().into_make_service_with_connect_info::<Peer>();
            let stopped = stop.clone().cancelled_owned();
            let served = axum::serve(incoming, service).with_graceful_shutdown(stopped);
            tasks.push(tokio::spawn(async move {
                // The only error is one of accepting, and that our listener deals with itself.
                let _ = served.await;
            }));
        }
        Ok(tasks)
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
