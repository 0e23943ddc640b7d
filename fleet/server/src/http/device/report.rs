//! `POST report`: what changed on a device.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use lightship_core::wire::Up;

use super::caller::Caller;
use super::register::up;
use crate::App;
use crate::http::failure::{Answer, Failure};

/// Stores a report.
pub(super) async fn post(
    State(app): State<App>,
    Caller(known): Caller,
    body: Bytes,
) -> Answer<StatusCode> {
    let Up::Report(report) = up(&body)? else {
        return Err(Failure::malformed("expected a report"));
    };
    app.report(&known, report).await?;
    Ok(StatusCode::NO_CONTENT)
}
