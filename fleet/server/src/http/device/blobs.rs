//! `GET blobs/<digest>`: what a release is made of, with ranges.
//!
//! A device may read its own settings and what its fleet has; anything else does not exist for it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use lightship_core::id::Digest;

use super::caller::Caller;
use crate::App;
use crate::http::extract::Path;
use crate::http::failure::{Answer, Failure};
use crate::http::range;

/// Sends a blob, or a part of it.
pub(super) async fn get(
    State(app): State<App>,
    Caller(known): Caller,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let digest: Digest = digest.parse().map_err(|_| Failure::not_found("blob"))?;
    match app.blob_of(&known, &digest).await? {
        None => Err(Failure::not_found("blob")),
        Some(crate::blob::Found::Bytes(bytes)) => range::bytes(&headers, bytes),
        Some(crate::blob::Found::Stored { digest, size }) => {
            range::stored(&app, &headers, &digest, size).await
        }
    }
}
