//! `POST keys`: a device offers a new key; the old one stays valid until the new one was used.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use lightship_core::wire::{Down, Up};

use super::caller::Caller;
use super::register::{answer, declined_answer, up};
use crate::App;
use crate::http::failure::{Answer, Failure};

/// Accepts a key beside the one in use.
pub(super) async fn post(
    State(app): State<App>,
    Caller(known): Caller,
    body: Bytes,
) -> Answer<Response> {
    let Up::ProposeKey(new) = up(&body)? else {
        return Err(Failure::malformed("expected a key"));
    };
    match app.propose(&known, &new).await {
        Ok(accepted) => answer(&Down::KeyAccepted(accepted)),
        Err(declined) => declined_answer(declined),
    }
}
