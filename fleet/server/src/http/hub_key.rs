//! The key of the tunnel hub, which devices know the fleet by inside WireGuard.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{HubKey, HubKeyRotation};

use super::caller::Caller;
use super::extract::Json;
use super::failure::{Answer, Failure};
use crate::App;

/// The longest span of a rotation, in seconds: 31 days.
const LONGEST_S: u32 = 31 * 24 * 3600;

/// Show the hub's key, and how many devices have not used it yet.
#[utoipa::path(get, path = "/api/v1/hub-key", operation_id = "showHubKey", tag = "hub", responses((status = 200, description = "The hub's keys", body = HubKey)))]
pub(super) async fn show(State(app): State<App>, caller: Caller) -> Answer<Json<HubKey>> {
    caller.require_admin()?;
    app.hub_key().await.map(Json)
}

/// Give the hub a new key and have every device move to it, each at a time of its own. The former key is answered to until all have.
#[utoipa::path(post, path = "/api/v1/hub-key/rotate", operation_id = "rotateHubKey", tag = "hub", responses((status = 202, description = "Begun; a device that is away is told when it is back", body = HubKey)))]
pub(super) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Json(rotation): Json<HubKeyRotation>,
) -> Answer<(StatusCode, Json<HubKey>)> {
    caller.require_admin()?;
    if rotation.over_s > LONGEST_S {
        return Err(Failure::invalid(
            "over_s",
            format!("at most {LONGEST_S} seconds"),
        ));
    }
    let keys = app.rotate_hub_key(&caller, &rotation).await?;
    Ok((StatusCode::ACCEPTED, Json(keys)))
}

/// Answer to the former key no more, whoever still uses it: a device behind that has no other way to the fleet must enrol anew.
#[utoipa::path(post, path = "/api/v1/hub-key/retire", operation_id = "retireHubKey", tag = "hub", responses((status = 200, description = "Retired", body = HubKey)))]
pub(super) async fn retire(State(app): State<App>, caller: Caller) -> Answer<Json<HubKey>> {
    caller.require_admin()?;
    app.retire_hub_key(&caller).await.map(Json)
}
