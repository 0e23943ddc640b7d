//! Which device calls: `Authorization: Bearer <uuid>.<hex of the API key>`.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::App;
use crate::http::caller::bearer;
use crate::http::failure::{Answer, Failure};
use crate::http::peer::Peer;
use crate::roster::Known;

/// A device that showed its key.
pub(super) struct Caller(pub(super) Arc<Known>);

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let peer = Peer::of(parts);
        app.failures.check(&peer)?;
        let shown = bearer(parts).and_then(|shown| shown.split_once('.'));
        let Some((uuid, key)) = shown else {
            return Err(Failure::unauthorized());
        };
        match app.authenticate(uuid, key).await? {
            Some(known) => Ok(Self(known)),
            None => {
                app.failures.count(&peer);
                app.metrics
                    .refused_devices
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err(Failure::unauthorized())
            }
        }
    }
}
