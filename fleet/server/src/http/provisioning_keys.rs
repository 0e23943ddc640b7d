//! Provisioning keys: what lets a new device into a fleet.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{CreatedProvisioningKey, Name, NewProvisioningKey, ProvisioningKey, Role};

use super::caller::Caller;
use super::check;
use super::extract::{Json, Path};
use super::failure::{Answer, Failure};
use crate::db::{self, Entry};
use crate::{App, clock, secret};

/// Keys of one fleet, ended ones included.
const KEYS: i64 = 10_000;
/// Devices that one key may let in.
const MAX_USES: u32 = 1_000_000;

/// The fleet's provisioning keys.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/provisioning-keys", operation_id = "listProvisioningKeys", tag = "provisioning-keys", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Keys", body = Vec<ProvisioningKey>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
) -> Answer<Json<Vec<ProvisioningKey>>> {
    caller.require(&app, &fleet, Role::Operator).await?;
    Ok(Json(db::provisioning_keys::list(&app.db, &fleet).await?))
}

/// Make a provisioning key.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/provisioning-keys", operation_id = "createProvisioningKey", tag = "provisioning-keys", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 201, description = "Made; the secret is shown this once", body = CreatedProvisioningKey)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Json(new): Json<NewProvisioningKey>,
) -> Answer<(StatusCode, Json<CreatedProvisioningKey>)> {
    caller.require(&app, &fleet, Role::Operator).await?;
    check::text("label", &new.label, 128)?;
    check::expiry("expires_at", new.expires_at)?;
    if !(1..=MAX_USES).contains(&new.max_uses) {
        return Err(Failure::invalid("max_uses", format!("1 to {MAX_USES}")));
    }
    let key = ProvisioningKey {
        id: secret::new_id(),
        label: new.label,
        max_uses: new.max_uses,
        uses: 0,
        created_at: clock::now(),
        expires_at: new.expires_at,
        revoked_at: None,
    };
    let secret = app.secrets.provisioning_key(&key.id);
    let mut tx = app.db.write().await?;
    if db::provisioning_keys::count_of(&mut tx, &fleet).await? >= KEYS {
        return Err(Failure::limit(format!(
            "a fleet has at most {KEYS} provisioning keys"
        )));
    }
    db::provisioning_keys::insert(&mut tx, &fleet, &key, &app.secrets.hash(&secret)).await?;
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(&fleet),
        what: "provisioning-key.created",
        subject: &key.id,
        detail: key.label.clone(),
    })
    .await?;
    tx.commit().await?;
    let enrolment = app.open_enrolment(&key.id);
    Ok((
        StatusCode::CREATED,
        Json(CreatedProvisioningKey {
            secret,
            key,
            enrolment,
        }),
    ))
}

/// Revoke a provisioning key; devices that it let in stay.
#[utoipa::path(delete, path = "/api/v1/fleets/{fleet}/provisioning-keys/{key}", operation_id = "revokeProvisioningKey", tag = "provisioning-keys", params(("fleet" = Name, Path, description = "The fleet's name"), ("key" = String, Path, description = "The key's identifier")), responses((status = 204, description = "Revoked")))]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, key)): Path<(Name, String)>,
) -> Answer<StatusCode> {
    caller.require(&app, &fleet, Role::Operator).await?;
    let mut tx = app.db.write().await?;
    if !db::provisioning_keys::revoke(&mut tx, &fleet, &key, clock::now_ms()).await? {
        return Err(Failure::not_found("provisioning key"));
    }
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(&fleet),
        what: "provisioning-key.revoked",
        subject: &key,
        detail: String::new(),
    })
    .await?;
    tx.commit().await?;
    app.close_enrolment(&key);
    Ok(StatusCode::NO_CONTENT)
}
