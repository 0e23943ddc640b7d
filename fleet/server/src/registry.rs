//! The OCI registry (distribution specification 1.1): images and other artifacts of fleets.
//!
//! A repository's first component is the fleet it belongs to, and nothing is shared between
//! repositories but bytes: to have a blob, a repository must have been sent it or have it
//! mounted from one that the caller may read. What was acknowledged is stored: the blob first,
//! then the row that links it.

mod auth;
mod blobs;
mod collect;
mod manifests;
mod names;
mod refusal;
mod take_in;
mod token;
mod uploads;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use crate::App;
pub(crate) use collect::collect;
use names::{Place, Repository};
use refusal::{Reply, refuse};
pub(crate) use take_in::take_in;
pub(crate) use uploads::Uploads;

/// All routes of the registry.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/v2/token", get(token::get))
        .route("/v2/", any(serve))
        .route("/v2/{*path}", any(serve))
        .layer(DefaultBodyLimit::disable())
}

/// A request for something in a repository, by a caller who may.
struct Asked {
    app: App,
    method: Method,
    repository: Repository,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Body,
}

impl Asked {
    fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

async fn serve(State(app): State<App>, request: Request) -> Response {
    let reply = answer(app, request).await;
    let mut response = reply.unwrap_or_else(|refusal| refusal.into_response());
    let version = HeaderValue::from_static("registry/2.0");
    response
        .headers_mut()
        .insert("docker-distribution-api-version", version);
    response
}

async fn answer(app: App, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix("/v2/").unwrap_or_default();
    if path.is_empty() {
        auth::anybody(&app, &parts).await?;
        return Ok((StatusCode::OK, [("content-type", "application/json")], "{}").into_response());
    }
    let Some((repository, place)) = names::place(path) else {
        // Nobody learns what there is without a credential, not even that there is nothing.
        auth::anybody(&app, &parts).await?;
        return Err(refuse(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "there is no such thing",
        ));
    };
    let query = names::query(parts.uri.query().unwrap_or_default());
    auth::allowed(&app, &parts, &repository, &parts.method, &query).await?;
    let asked = Asked {
        app,
        method: parts.method,
        repository,
        query,
        headers: parts.headers,
        body,
    };
    match place {
        Place::Tags => manifests::tags(asked).await,
        Place::Referrers(digest) => manifests::referrers(asked, &digest).await,
        Place::Uploads => uploads::start(asked).await,
        Place::Upload(id) => uploads::go_on(asked, &id).await,
        Place::Blob(digest) => blobs::blob(asked, &digest).await,
        Place::Manifest(reference) => manifests::manifest(asked, &reference).await,
    }
}
