//! A fleet that speaks the HTTPS protocol of lightship-link's page, on axum, with TLS by rustls.

#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod device;
pub(crate) mod microcontroller;
pub(crate) mod tls;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lightship_core::id::Digest;
use lightship_core::wire::{Down, Up, json};
use lightship_link::suite::{FarEnd, Way};
use lightship_link::{Credentials, Secret};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What the fleet knows and has heard.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) admitted: HashSet<String>,
    pub(crate) commands: Vec<(u64, String)>,
    pub(crate) target: Option<(u64, Vec<u8>)>,
    pub(crate) heard: Vec<Up>,
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    pub(crate) logs: Vec<u8>,
    /// What to answer to everything but blobs, instead of serving.
    pub(crate) refuse: Option<Refusal>,
    /// Whether requests are held as they ask for.
    pub(crate) impatient: bool,
    pub(crate) asked: u32,
    raws: u64,
}

/// A status, headers and a body.
pub(crate) type Refusal = (u16, Vec<(&'static str, String)>, &'static str);

/// A running fleet.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) book: Arc<Mutex<Book>>,
    news: Arc<watch::Sender<()>>,
}

pub(crate) fn token(credentials: &Credentials) -> String {
    let Secret::Api(key) = &credentials.secret else {
        panic!("a provisioning key is no bearer token");
    };
    let hex: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("Bearer {}.{hex}", credentials.uuid)
}

fn hex(digest: &Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Fleet {
    /// Serves on a port of its own, with TLS when there is an acceptor.
    pub(crate) async fn start(tls: Option<TlsAcceptor>) -> (Self, SocketAddr) {
        let fleet = Self {
            book: Arc::default(),
            news: Arc::new(watch::Sender::new(())),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = fleet.router();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(stream, tls.clone(), router.clone()));
            }
        });
        (fleet, address)
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/device/v1/register", post(register))
            .route("/device/v1/target", get(target))
            .route("/device/v1/report", post(report))
            .route("/device/v1/keys", post(keys))
            .route("/device/v1/logs", post(logs))
            .route("/device/v1/blobs/{digest}", get(blob))
            .with_state(self.clone())
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let changed = change(&mut self.book.lock().unwrap());
        self.news.send_replace(());
        changed
    }

    #[allow(clippy::result_large_err, reason = "axum's own type, in a test")]
    fn judge(&self, headers: &HeaderMap) -> Result<(), Response> {
        let book = self.book.lock().unwrap();
        if let Some((status, headers, body)) = &book.refuse {
            let status = StatusCode::from_u16(*status).unwrap();
            let mut response = (status, *body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            return Err(response);
        }
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if shown.is_some_and(|shown| book.admitted.contains(shown)) {
            Ok(())
        } else {
            Err(StatusCode::UNAUTHORIZED.into_response())
        }
    }
}

async fn serve(stream: tokio::net::TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    let service = hyper_util::service::TowerToHyperService::new(router);
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A connection that a test breaks is no failure of the server.
    match tls {
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        }
        None => {
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    }
}

fn message(down: &Down<'_>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text(down)).into_response()
}

fn text(down: &Down<'_>) -> String {
    let mut out = vec![0; json::TEXT_BYTES];
    json::encode(down, &mut out).unwrap().into()
}

async fn register(State(fleet): State<Fleet>, body: Bytes) -> Response {
    let Ok(Up::Register(register)) = json::decode_up(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let refused = fleet.book.lock().unwrap().refuse.clone();
    if let Some((status, _, body)) = refused {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    let uuid = register.uuid;
    fleet.change(|book| {
        book.admitted.insert(token(&Credentials {
            uuid,
            secret: Secret::Api(register.api_key),
        }));
        book.heard.push(Up::Register(register));
    });
    message(&Down::Registered(lightship_core::wire::Registered {
        uuid,
        tunnel: None,
    }))
}

async fn report(State(fleet): State<Fleet>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(response) = fleet.judge(&headers) {
        return response;
    }
    match json::decode_up(&body) {
        Ok(up @ Up::Report(_)) => {
            fleet.change(|book| book.heard.push(up));
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn keys(State(fleet): State<Fleet>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(response) = fleet.judge(&headers) {
        return response;
    }
    let Ok(Up::ProposeKey(key)) = json::decode_up(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let accepted = lightship_core::wire::KeyAccepted {
        kind: key.kind(),
        id: key.id(),
    };
    fleet.change(|book| book.heard.push(Up::ProposeKey(key)));
    message(&Down::KeyAccepted(accepted))
}

async fn logs(State(fleet): State<Fleet>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(response) = fleet.judge(&headers) {
        return response;
    }
    fleet.change(|book| book.logs.extend_from_slice(&body));
    StatusCode::NO_CONTENT.into_response()
}

async fn target(
    State(fleet): State<Fleet>,
    Query(query): Query<HashMap<String, u64>>,
    headers: HeaderMap,
) -> Response {
    let mut news = fleet.news.subscribe();
    let had = headers
        .get(header::IF_NONE_MATCH)
        .map_or("", |value| value.to_str().unwrap());
    let had: Vec<&str> = had.split(", ").collect();
    let wait = headers.get("prefer").map_or(0, |value| {
        let value = value.to_str().unwrap();
        value.strip_prefix("wait=").unwrap().parse().unwrap()
    });
    fleet.change(|book| book.asked += 1);
    let until = tokio::time::Instant::now() + Duration::from_secs(wait);
    loop {
        if let Err(response) = fleet.judge(&headers) {
            return response;
        }
        news.borrow_and_update();
        if let Some((tag, text)) = fleet.next(query["command"], &had) {
            return ([(header::ETAG, tag)], text).into_response();
        }
        let impatient = fleet.book.lock().unwrap().impatient;
        if impatient
            || tokio::time::timeout_at(until, news.changed())
                .await
                .is_err()
        {
            return StatusCode::NOT_MODIFIED.into_response();
        }
    }
}

impl Fleet {
    fn next(&self, command: u64, had: &[&str]) -> Option<(String, Vec<u8>)> {
        let mut book = self.book.lock().unwrap();
        book.commands.retain(|(id, _)| *id > command);
        if let Some((id, text)) = book.commands.first() {
            return Some((format!("\"command-{id}\""), text.clone().into()));
        }
        let (counter, text) = book.target.as_ref()?;
        let tag = format!("\"{counter}\"");
        (!had.contains(&tag.as_str())).then(|| (tag, text.clone()))
    }
}

async fn blob(
    State(fleet): State<Fleet>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(response) = fleet.judge(&headers) {
        return response;
    }
    let Some(blob) = fleet.book.lock().unwrap().blobs.get(&digest).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(range) = headers.get(header::RANGE) else {
        return blob.into_response();
    };
    let from = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
    let from: usize = from.strip_suffix('-').unwrap().parse().unwrap();
    if from >= blob.len() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
    let headers = [(header::CONTENT_RANGE, range)];
    (StatusCode::PARTIAL_CONTENT, headers, blob[from..].to_vec()).into_response()
}

impl FarEnd for Fleet {
    async fn admit(&mut self, credentials: &Credentials) {
        self.change(|book| book.admitted.insert(token(credentials)));
    }

    async fn expel(&mut self, credentials: &Credentials) {
        self.change(|book| book.admitted.remove(&token(credentials)));
    }

    async fn say(&mut self, down: &Down<'_>, counter: u64) {
        let text = text(down);
        self.change(|book| match down {
            Down::Command(command) => book.commands.push((command.id, text)),
            Down::Target(_) => book.target = Some((counter, text.into())),
            other => panic!("the suite says no {other:?}"),
        });
    }

    async fn say_raw(&mut self, bytes: &[u8]) {
        self.change(|book| {
            book.raws += 1;
            book.target = Some((1_000_000 + book.raws, bytes.to_vec()));
        });
    }

    async fn heard(&mut self) -> Vec<Up> {
        std::mem::take(&mut self.book.lock().unwrap().heard)
    }

    async fn keep(&mut self, blob: Vec<u8>) -> Digest {
        let digest = Digest::of(&blob);
        self.change(|book| book.blobs.insert(hex(&digest), blob));
        digest
    }
}

/// A way to `server`.
pub(crate) async fn way(server: SocketAddr) -> (Way, SocketAddr) {
    Way::tcp(server).await.unwrap()
}
