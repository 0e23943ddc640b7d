//! The routes that devices use: `/device/v1/`.
//!
//! What they carry and how they answer is laid down by the protocol page of lightship-link.

mod blobs;
mod caller;
mod keys;
mod logs;
mod metrics;
mod register;
mod report;
mod target;

use axum::Router;
use axum::routing::{get, post};

use crate::App;

/// Longest JSON of a message from a device: twice the bound of its postcard form.
const UP_BYTES: usize = 2 * lightship_link::limits::UP_BYTES;
/// Longest batch of log lines.
const LOG_BYTES: usize = 256 * 1024;

/// The one that a device may use which nobody knows yet.
pub(super) fn registration() -> Router<App> {
    let limit = axum::extract::DefaultBodyLimit::max(UP_BYTES);
    Router::new()
        .route("/device/v1/register", post(register::post))
        .layer(limit)
}

/// All of them.
pub(super) fn router() -> Router<App> {
    let limit = axum::extract::DefaultBodyLimit::max;
    let messages = Router::new()
        .route("/device/v1/target", get(target::get))
        .route("/device/v1/report", post(report::post))
        .route("/device/v1/metrics", post(metrics::post))
        .route("/device/v1/keys", post(keys::post))
        .layer(limit(UP_BYTES));
    messages
        .merge(registration())
        .route("/device/v1/logs", post(logs::post).layer(limit(LOG_BYTES)))
        .route("/device/v1/blobs/{digest}", get(blobs::get))
}
