//! A connection to a port of a device, carried by an upgraded request (RFC 9110, section 7.8).

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use lightship_api::{Name, Role};
use tokio::io::copy_bidirectional;

use super::caller::Caller;
use super::extract::Path;
use super::failure::{Answer, Failure};
use crate::App;
use crate::db::{self, Entry};

/// What both sides call the protocol: bytes, as they come.
const PROTOCOL: &str = "lightship-tunnel";

/// Reach a TCP port of a device: after `101 Switching Protocols` the connection is the device's.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/devices/{device}/tunnel/{port}", operation_id = "tunnelDevice", tag = "devices", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid"), ("port" = u16, Path, description = "The TCP port")), responses((status = 101, description = "Connected; send `Upgrade: lightship-tunnel`")))]
pub(super) async fn open(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device, port)): Path<(Name, String, u16)>,
    request: Request,
) -> Answer<Response> {
    caller.require(&app, &fleet, Role::Operator).await?;
    let placed = db::places::find_placed(&app.db, fleet.as_str(), &device).await?;
    let placed = placed.ok_or_else(|| Failure::not_found("device"))?;
    let asked = request
        .headers()
        .get(header::UPGRADE)
        .and_then(|protocol| protocol.to_str().ok());
    if asked != Some(PROTOCOL) {
        return Err(Failure::malformed(format!(
            "send the headers Connection: upgrade and Upgrade: {PROTOCOL}"
        )));
    }
    let mut stream = app.hub()?.dial(placed.address, port).await?;
    let mut tx = app.db.write().await?;
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(&fleet),
        what: "device.tunnelled",
        subject: &device,
        detail: format!("port {port}"),
    })
    .await?;
    tx.commit().await?;
    let stop = app.stop.clone();
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            // Either end may hang up whenever it likes.
            _ = async { copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await } => {}
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
        .headers_mut()
        .insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}
