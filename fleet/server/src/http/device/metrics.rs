//! `POST metrics`: what a device is made of and how it is doing. Only the latest is kept.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{Event, Metrics};

use super::caller::Caller;
use crate::http::check;
use crate::http::extract::Json;
use crate::http::failure::{Answer, Failure};
use crate::{App, clock, db};

/// Bytes of each word that a device has for itself.
const WORD_BYTES: usize = 128;
/// Below absolute zero there is nothing, and above this no device.
const TEMPERATURE_C: std::ops::RangeInclusive<f64> = -273.15..=1000.0;

/// Stores what a device says of itself.
pub(super) async fn post(
    State(app): State<App>,
    Caller(known): Caller,
    Json(metrics): Json<Metrics>,
) -> Answer<StatusCode> {
    within_bounds(&metrics)?;
    let device = known.uuid.to_string();
    let mut tx = app.db.write().await?;
    db::devices::update_metrics(&mut tx, &device, metrics, clock::now_ms()).await?;
    tx.commit().await?;
    // Nobody listening is no failure.
    let _ = app.events.send((known.fleet(), Event::Metrics { device }));
    Ok(StatusCode::NO_CONTENT)
}

fn within_bounds(metrics: &Metrics) -> Answer<()> {
    for (field, value) in [
        ("architecture", &metrics.architecture),
        ("os", &metrics.os),
        ("kernel", &metrics.kernel),
        ("agent", &metrics.agent),
    ] {
        check::text(field, value.as_deref().unwrap_or_default(), WORD_BYTES)?;
    }
    if metrics
        .cpu_percent
        .is_some_and(|percent| !(0.0..=100.0).contains(&percent))
    {
        return Err(Failure::invalid("cpu_percent", "0 to 100"));
    }
    if metrics
        .temperature_c
        .is_some_and(|degrees| !TEMPERATURE_C.contains(&degrees))
    {
        return Err(Failure::invalid("temperature_c", "-273.15 to 1000"));
    }
    Ok(())
}
