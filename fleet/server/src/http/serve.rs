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
            carry(connection, Peer::from(from.ip()), router, HEAD, stop).await;
            drop(open);
        });
    }
    drop((incoming, open));
    // Nothing is ever sent: it ends when the last connection has.
    let _ = all_closed.recv().await;
}

async fn carry(
    connection: Connection,
    from: Peer,
    router: Router,
    head: Duration,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head);
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::listener::Places;
    use super::*;

    /// What is heard on a connection on which this is said, until the server hangs up.
    async fn heard(said: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let places = Places::new(1, 1);
        let (mut incoming, _accepts) = Incoming::start(listener, None, places, stop.clone());
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (connection, from) = incoming.next().await.unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let (from, head) = (Peer::from(from.ip()), Duration::from_millis(300));
        let served = tokio::spawn(carry(connection, from, router, head, stop));
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        served.await.unwrap();
        heard
    }

    #[tokio::test]
    async fn who_does_not_finish_a_request_is_hung_up_on_and_who_does_is_answered() {
        let unfinished = "GET / HTTP/1.1\r\nhost: fleet\r\nx-slow:";
        assert!(!heard(unfinished).await.contains("here"));
        assert!(!heard("").await.contains("here"), "silence");
        // And after the answer, if nothing more is asked.
        assert!(
            heard("GET / HTTP/1.1\r\nhost: fleet\r\n\r\n")
                .await
                .ends_with("here")
        );
    }
}
