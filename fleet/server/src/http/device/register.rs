//! `POST register`: a device asks to be one of the fleet.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::{self, Down, Refusal, Refused, Up, json};

use crate::App;
use crate::device::Declined;
use crate::http::failure::{Answer, Failure};
use crate::http::peer::Peer;

/// Messages in postcard, as MQTT carries them.
const POSTCARD: &str = "application/vnd.lightship.postcard";

/// Lets a device in, or says why not; in postcard who asks in postcard.
pub(super) async fn post(
    State(app): State<App>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Response> {
    let peer = Peer::of_extensions(&extensions);
    app.failures.check(&peer)?;
    app.registrations.take(&peer)?;
    let is_postcard = is_postcard(&headers);
    let message = match is_postcard {
        true => wire::decode_up(&body).map_err(malformed)?,
        false => up(&body)?,
    };
    let Up::Register(asked) = message else {
        return Err(Failure::malformed("expected a registration"));
    };
    match app.register(&asked).await {
        Ok(registered) if is_postcard => postcard(StatusCode::OK, &Down::Registered(registered)),
        Ok(registered) => answer(&Down::Registered(registered)),
        Err(declined) => {
            if let Declined::Refused(Refused {
                reason: Refusal::BadProvisioningKey,
                ..
            }) = declined
            {
                app.failures.count(&peer);
            }
            match declined {
                Declined::Refused(refused) if is_postcard => {
                    let response = postcard(status(&refused), &Down::Refused(refused))?;
                    Ok(with_retry_after(response, &refused))
                }
                declined => declined_answer(declined),
            }
        }
    }
}

fn is_postcard(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(POSTCARD)
}

fn postcard(status: StatusCode, down: &Down<'_>) -> Answer<Response> {
    let mut out = vec![0; MESSAGE_BYTES];
    let body = wire::encode(down, &mut out).map_err(Failure::internal)?;
    Ok((status, [(header::CONTENT_TYPE, POSTCARD)], body.to_vec()).into_response())
}

fn malformed(rejection: wire::Rejection) -> Failure {
    Failure::malformed(rejection.to_string())
}

/// Reads a message from a device.
pub(super) fn up(body: &[u8]) -> Answer<Up> {
    json::decode_up(body).map_err(malformed)
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
    let status = status(&refused);
    let body = serde_json::json!({
        "type": "urn:lightship:problem:refused",
        "title": "The fleet does not do what was asked",
        "status": status.as_u16(),
        "refused": refused,
    });
    let response = (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response();
    Ok(with_retry_after(response, &refused))
}

fn status(refused: &Refused) -> StatusCode {
    match refused.reason {
        Refusal::BadProvisioningKey | Refusal::UnknownDeviceType => StatusCode::FORBIDDEN,
        Refusal::IdentityTaken | Refusal::BadKey => StatusCode::CONFLICT,
        Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
    }
}

fn with_retry_after(mut response: Response, refused: &Refused) -> Response {
    if let Some(seconds) = refused.retry_after_s {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
