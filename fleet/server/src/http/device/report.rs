//! `POST report`: what changed on a device, and `POST health`: what it is made of and how it does.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{Inventory, Metrics};
use lightship_core::wire::Up;
use serde::Deserialize;

use super::caller::Caller;
use super::register::up;
use crate::App;
use crate::db;
use crate::http::check;
use crate::http::extract::Json;
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

/// What a device says of itself besides its releases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    #[serde(default)]
    inventory: Inventory,
    #[serde(default)]
    metrics: Metrics,
}

/// Stores what a device is made of and how it does.
pub(super) async fn health(
    State(app): State<App>,
    Caller(known): Caller,
    Json(health): Json<Health>,
) -> Answer<StatusCode> {
    for (field, value) in [
        ("inventory.architecture", &health.inventory.architecture),
        ("inventory.os", &health.inventory.os),
        ("inventory.agent", &health.inventory.agent),
    ] {
        check::text(field, value.as_deref().unwrap_or_default(), 128)?;
    }
    let mut tx = app.db.write().await?;
    db::devices::set_health(
        &mut tx,
        &known.uuid.to_string(),
        &health.inventory,
        &health.metrics,
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
