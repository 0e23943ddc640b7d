//! Whether the server is well, and what it counts.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::failure::{Answer, Failure};
use crate::App;

/// What a server that stands by has in common with one that leads.
pub(crate) fn while_it_waits() -> Router {
    Router::new().route("/health/live", get(live))
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "server", security(()), responses((status = 200, description = "It does", body = str)))]
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// The database answers, and the server is not stopping.
#[utoipa::path(get, path = "/health/ready", tag = "server", security(()), responses((status = 200, description = "It does", body = str)))]
pub(super) async fn ready(State(app): State<App>) -> Answer<&'static str> {
    if app.stop.is_cancelled() {
        return Err(Failure::unavailable("the server is stopping"));
    }
    if app.db.is_alive().await {
        Ok("ready\n")
    } else {
        Err(Failure::unavailable("the database does not answer"))
    }
}

/// The certificate that clients and devices pin, PEM.
#[utoipa::path(get, path = "/ca.pem", tag = "server", security(()), responses((status = 200, description = "PEM", body = str, content_type = "application/x-pem-file")))]
pub(super) async fn authority(State(app): State<App>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/x-pem-file")],
        app.authority_pem.to_string(),
    )
}

/// Prometheus' text format.
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        app.metrics.text(),
    )
}
