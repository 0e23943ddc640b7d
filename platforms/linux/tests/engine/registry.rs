//! A registry on the loopback that serves images and lies on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, StreamExt as _};
use lightshipd::engine::image::Reference;
use lightshipd::engine::pull::{Access, Credentials, Registries};
use lightshipd::store::Digest;

use crate::archive::Image;

/// What it does wrong when asked for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Other bytes of the same length.
    OtherBytes,
    /// The right bytes and then more.
    Longer,
    /// Breaks off in the middle, each time.
    BreaksOff,
    /// Ignores ranges.
    NoRanges,
    /// Answers a range with another one.
    OtherRange,
    /// Answers with this status.
    Status(u16),
}

#[derive(Default)]
struct Shelf {
    blobs: BTreeMap<String, Vec<u8>>,
    lies: BTreeMap<String, Lie>,
    requests: Vec<String>,
    password: Option<String>,
}

/// A running registry; it stops when dropped.
pub(crate) struct Registry {
    shelf: Arc<Mutex<Shelf>>,
    host: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let app = Router::new()
            .route("/v2/{owner}/{name}/{kind}/{digest}", get(serve))
            .route("/token", get(token))
            .with_state(Arc::clone(&shelf));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            shelf,
            host,
            server,
        }
    }

    pub(crate) fn add(&self, image: &Image) {
        for blob in &image.blobs {
            self.add_blob(blob);
        }
    }

    pub(crate) fn add_blob(&self, blob: &[u8]) -> Digest {
        let digest = Digest::of(blob);
        self.shelf
            .lock()
            .unwrap()
            .blobs
            .insert(digest.to_string(), blob.to_vec());
        digest
    }

    pub(crate) fn lie(&self, about: &Digest, lie: Lie) {
        self.shelf
            .lock()
            .unwrap()
            .lies
            .insert(about.to_string(), lie);
    }

    pub(crate) fn repent(&self) {
        self.shelf.lock().unwrap().lies.clear();
    }

    pub(crate) fn ask_for_password(&self, password: &str) {
        self.shelf.lock().unwrap().password = Some(password.to_owned());
    }

    /// What was asked for since the last call: `blobs sha256:... bytes=5-`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shelf.lock().unwrap().requests)
    }

    pub(crate) fn repository(&self) -> Reference {
        Reference {
            host: self.host.clone(),
            repository: "acme/web".to_owned(),
        }
    }

    pub(crate) fn access(&self, password: Option<&str>) -> Registries {
        let password = password.map(str::to_owned);
        let credentials = password.map(|password| Credentials {
            user: "device".to_owned(),
            password,
        });
        let access = Access {
            credentials,
            plain_http: true,
        };
        // Beside crates that bring TLS without a provider, a client wants one even for plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Registries::new(
            reqwest::Client::new(),
            BTreeMap::from([(self.host.clone(), access)]),
        )
    }
}

async fn token(State(shelf): State<Arc<Mutex<Shelf>>>, headers: HeaderMap) -> Response {
    let shelf = shelf.lock().unwrap();
    let password = shelf.password.clone().unwrap_or_default();
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("device:{password}"));
    if headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        != Some(&format!("Basic {pair}"))
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    r#"{"token":"let-me-in"}"#.into_response()
}

async fn serve(
    State(shelf): State<Arc<Mutex<Shelf>>>,
    Path((_, _, kind, digest)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let mut shelf = shelf.lock().unwrap();
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    if shelf.password.is_some() && header("authorization") != "Bearer let-me-in" {
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"test\"",
            header("host")
        );
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    shelf.requests.push(
        format!("{kind} {digest} {}", header("range"))
            .trim_end()
            .to_owned(),
    );
    let Some(blob) = shelf.blobs.get(&digest).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let start = header("range")
        .strip_prefix("bytes=")
        .and_then(|text| text.strip_suffix('-')?.parse::<usize>().ok());
    let lie = shelf.lies.get(&digest).copied();
    answer(&blob, start.unwrap_or(0), lie)
}

fn answer(blob: &[u8], start: usize, lie: Option<Lie>) -> Response {
    let whole = |bytes: Vec<u8>| bytes.into_response();
    let ranged = |said: usize, bytes: Vec<u8>| {
        let range = format!("bytes {said}-{}/{}", blob.len() - 1, blob.len());
        (
            StatusCode::PARTIAL_CONTENT,
            [("content-range", range)],
            bytes,
        )
            .into_response()
    };
    match lie {
        None if start == 0 => whole(blob.to_vec()),
        None => ranged(start, blob[start..].to_vec()),
        Some(Lie::OtherBytes) => whole(blob.iter().map(|byte| byte ^ 0x55).collect()),
        Some(Lie::Longer) => whole([blob, &[7; 100]].concat()),
        Some(Lie::NoRanges) => whole(blob.to_vec()),
        Some(Lie::OtherRange) => ranged(start / 2, blob[start / 2..].to_vec()),
        Some(Lie::Status(code)) => StatusCode::from_u16(code).unwrap().into_response(),
        Some(Lie::BreaksOff) => {
            let half = Bytes::copy_from_slice(&blob[start..start + (blob.len() - start) / 2]);
            let broken = async {
                // The half that was sent before has to leave first.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("the cable is pulled"))
            };
            let pieces = stream::once(async { Ok(half) }).chain(stream::once(broken));
            Body::from_stream(pieces).into_response()
        }
    }
}
