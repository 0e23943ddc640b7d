//! Variables of a fleet and of its devices.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{Name, Role, Variable, VariableKind};
use lightship_director as director;
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::Caller;
use super::extract::{Json, Path, Query};
use super::failure::{Answer, Failure};
use crate::db::variables::Of;
use crate::db::{self, Entry};
use crate::{App, direct};

/// Variables of a fleet, and of one device.
const VARIABLES: i64 = 512;
/// Bytes of a value.
const VALUE_BYTES: usize = 16 * 1024;
/// Bytes of a name.
const NAME_BYTES: usize = 128;

/// Which variable is meant, besides its name.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// What it is used for; `environment` if absent.
    #[serde(default)]
    kind: VariableKind,
    /// The service it is for; absent means all.
    #[serde(default)]
    service: String,
}

/// The fleet's variables.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/variables", operation_id = "listVariables", tag = "variables", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Variables", body = Vec<Variable>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
) -> Answer<Json<Vec<Variable>>> {
    caller.require(&app, &fleet, Role::Developer).await?;
    Ok(Json(
        db::variables::list(
            &app.db,
            Of {
                fleet: &fleet,
                device: "",
            },
        )
        .await?,
    ))
}

/// Set a variable of the fleet.
#[utoipa::path(put, path = "/api/v1/fleets/{fleet}/variables", operation_id = "putVariable", tag = "variables", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Set", body = Variable)))]
pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Json(variable): Json<Variable>,
) -> Answer<Json<Variable>> {
    caller.require(&app, &fleet, Role::Developer).await?;
    set(
        &app,
        &caller,
        Of {
            fleet: &fleet,
            device: "",
        },
        &variable,
    )
    .await?;
    Ok(Json(variable))
}

/// Remove a variable of the fleet.
#[utoipa::path(delete, path = "/api/v1/fleets/{fleet}/variables/{variable}", operation_id = "deleteVariable", tag = "variables", params(("fleet" = Name, Path, description = "The fleet's name"), ("variable" = String, Path, description = "The variable's name"), Which), responses((status = 204, description = "Removed")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, name)): Path<(Name, String)>,
    Query(which): Query<Which>,
) -> Answer<StatusCode> {
    caller.require(&app, &fleet, Role::Developer).await?;
    remove(
        &app,
        &caller,
        Of {
            fleet: &fleet,
            device: "",
        },
        &which,
        &name,
    )
    .await
}

/// A device's variables.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/devices/{device}/variables", operation_id = "listDeviceVariables", tag = "variables", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "Variables", body = Vec<Variable>)))]
pub(super) async fn list_of_device(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
) -> Answer<Json<Vec<Variable>>> {
    caller.require(&app, &fleet, Role::Developer).await?;
    of_fleet(&app, &fleet, &device).await?;
    Ok(Json(
        db::variables::list(
            &app.db,
            Of {
                fleet: &fleet,
                device: &device,
            },
        )
        .await?,
    ))
}

/// Set a variable of a device.
#[utoipa::path(put, path = "/api/v1/fleets/{fleet}/devices/{device}/variables", operation_id = "putDeviceVariable", tag = "variables", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid")), responses((status = 200, description = "Set", body = Variable)))]
pub(super) async fn put_of_device(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
    Json(variable): Json<Variable>,
) -> Answer<Json<Variable>> {
    caller.require(&app, &fleet, Role::Developer).await?;
    of_fleet(&app, &fleet, &device).await?;
    set(
        &app,
        &caller,
        Of {
            fleet: &fleet,
            device: &device,
        },
        &variable,
    )
    .await?;
    Ok(Json(variable))
}

/// Remove a variable of a device.
#[utoipa::path(delete, path = "/api/v1/fleets/{fleet}/devices/{device}/variables/{variable}", operation_id = "deleteDeviceVariable", tag = "variables", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid"), ("variable" = String, Path, description = "The variable's name"), Which), responses((status = 204, description = "Removed")))]
pub(super) async fn delete_of_device(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device, name)): Path<(Name, String, String)>,
    Query(which): Query<Which>,
) -> Answer<StatusCode> {
    caller.require(&app, &fleet, Role::Developer).await?;
    of_fleet(&app, &fleet, &device).await?;
    remove(
        &app,
        &caller,
        Of {
            fleet: &fleet,
            device: &device,
        },
        &which,
        &name,
    )
    .await
}

async fn of_fleet(app: &App, fleet: &Name, device: &str) -> Answer<()> {
    let found = db::devices::find(&app.db, fleet, device).await?;
    found
        .map(|_| ())
        .ok_or_else(|| Failure::not_found("device"))
}

async fn set(app: &App, caller: &Caller, of: Of<'_>, variable: &Variable) -> Answer<()> {
    check(variable)?;
    let mut tx = app.db.write().await?;
    if db::variables::count(&mut tx, of).await? >= VARIABLES {
        return Err(Failure::limit(format!("at most {VARIABLES} variables")));
    }
    db::variables::put(&mut tx, of, variable).await?;
    // The value may be a secret, so the record has the name alone.
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(of.fleet),
        what: "variable.set",
        subject: &variable.name,
        detail: of.device.to_owned(),
    })
    .await?;
    tx.commit().await?;
    tell(app, of).await
}

async fn remove(
    app: &App,
    caller: &Caller,
    of: Of<'_>,
    which: &Which,
    name: &str,
) -> Answer<StatusCode> {
    let mut tx = app.db.write().await?;
    if !db::variables::delete(&mut tx, of, which.kind, &which.service, name).await? {
        return Err(Failure::not_found("variable"));
    }
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(of.fleet),
        what: "variable.deleted",
        subject: name,
        detail: of.device.to_owned(),
    })
    .await?;
    tx.commit().await?;
    tell(app, of).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn tell(app: &App, of: Of<'_>) -> Answer<()> {
    if of.device.is_empty() {
        let facts = direct::fleet_facts(app, of.fleet).await?;
        app.tell(of.fleet, director::Event::Fleet(Box::new(facts)))
            .await
    } else {
        app.refresh(of.fleet, of.device).await
    }
}

fn check(variable: &Variable) -> Answer<()> {
    let bytes = variable.name.as_bytes();
    let word = bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let begins = bytes
        .first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    if !(word && begins && bytes.len() <= NAME_BYTES) {
        return Err(Failure::invalid(
            "name",
            "a letter or underscore, then letters, digits and underscores; at most 128",
        ));
    }
    if variable.value.len() > VALUE_BYTES || variable.value.contains('\0') {
        return Err(Failure::invalid(
            "value",
            format!("at most {VALUE_BYTES} bytes, none of them zero"),
        ));
    }
    let service = variable.service.as_deref();
    if service.is_some_and(|service| service.parse::<lightship_core::id::Name>().is_err()) {
        return Err(Failure::invalid("service", "not the name of a service"));
    }
    Ok(())
}
