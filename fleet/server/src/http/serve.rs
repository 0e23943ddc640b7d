//! Serving connections: HTTP/1.1, with a bound on how long a peer may take to say what it wants.

use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::listener::{Connection, Incoming};
use super::peer::Peer;

/// How long the head of a request may take, the wait for it included: who says nothing gives the place back.
const HEAD: Duration = Duration::from_secs(60);

/// Serves until `stop`, and lets what is under way finish then.
pub(crate) async fn serve(mut incoming: Incoming, router: Router, stop: CancellationToken) {
    let (open, mut all_closed) = mpsc::channel::<()>(1);
    loop {
        let arrived = tokio::select! {
            () = stop.cancelled() => break,
            arrived = incoming.next() => arrived,
        };
        let Some((connection, from)) = arrived else {
            break;
        };
        let (router, stop, open) = (router.clone(), stop.clone(), open.clone());
        tokio::spawn(async move {
            carry(connection, Peer::from(from.ip()), router, stop).await;
            drop(open);
        });
    }
    drop((incoming, open));
    // Nothing is ever sent: it ends when the last connection has.
    let _ = all_closed.recv().await;
}

async fn carry(connection: Connection, from: Peer, router: Router, stop: CancellationToken) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let served = http.serve_connection(TokioIo::new(connection), service);
    let mut served = std::pin::pin!(served.with_upgrades());
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection broke off");
    }
}
