//! `POST register`: a device asks to be one of the fleet.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lightship_core::wire::{Down, Refusal, Refused, Up, json};

use crate::App;
use crate::device::Declined;
use crate::http::failure::{Answer, Failure};
use crate::http::peer::Peer;

/// Lets a device in, or says why not.
pub(super) async fn post(
    State(app): State<App>,
    extensions: Extensions,
    body: Bytes,
) -> Answer<Response> {
    let peer = Peer::of_extensions(&extensions);
    app.failures.check(&peer)?;
    app.registrations.take(&peer)?;
    let Up::Register(asked) = up(&body)? else {
        return Err(Failure::malformed("expected a registration"));
    };
    match app.register(&asked).await {
        Ok(registered) => answer(&Down::Registered(registered)),
        Err(declined) => {
            if let Declined::Refused(Refused {
                reason: Refusal::BadProvisioningKey,
                ..
            }) = declined
            {
                app.failures.count(&peer);
            }
            declined_answer(declined)
        }
    }
}

/// Reads a message from a device.
pub(super) fn up(body: &[u8]) -> Answer<Up> {
    json::decode_up(body).map_err(|rejection| Failure::malformed(rejection.to_string()))
}

/// A message to a device.
pub(super) fn answer(down: &Down<'_>) -> Answer<Response> {
    let body = serde_json::to_vec(down).map_err(Failure::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Problem details with the member that a device reads.
pub(super) fn declined_answer(declined: Declined) -> Answer<Response> {
    let refused = match declined {
        Declined::Failure(failure) => return Err(failure),
        Declined::Refused(refused) => refused,
    };
    let status = match refused.reason {
        Refusal::BadProvisioningKey | Refusal::UnknownDeviceType => StatusCode::FORBIDDEN,
        Refusal::IdentityTaken | Refusal::BadKey => StatusCode::CONFLICT,
        Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
    };
    let body = serde_json::json!({
        "type": "urn:lightship:problem:refused",
        "title": "The fleet does not do what was asked",
        "status": status.as_u16(),
        "refused": refused,
    });
    let mut response = (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response();
    if let Some(seconds) = refused.retry_after_s {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}
