//! Fleets.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{
    Fleet, FleetPatch, FleetRotation, Member, Name, NewFleet, Policy, Role, RotationPlanned,
};
use lightship_director as director;

use super::caller::Caller;
use super::check;
use super::extract::{Json, Path, Query};
use super::failure::{Answer, Failure};
use super::page::Page;
use crate::db::{self, Entry};
use crate::{App, clock, direct};

/// The longest time that a rotation is spread over: a month.
const LONGEST_ROTATION_S: u32 = 31 * 24 * 3600;

/// The fleets that the caller may see.
#[utoipa::path(get, path = "/api/v1/fleets", operation_id = "listFleets", tag = "fleets", params(Page), responses((status = 200, description = "Fleets", body = Vec<Fleet>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Answer<Json<Vec<Fleet>>> {
    let mut fleets = if caller.admin {
        db::fleets::list(&app.db, page.after(), page.limit()).await?
    } else {
        db::fleets::list_of(&app.db, &caller.user, page.after(), page.limit()).await?
    };
    fleets.retain(|fleet| {
        caller
            .scopes
            .iter()
            .any(|scope| scope.role_in(&fleet.name).is_some())
    });
    Ok(Json(fleets))
}

/// Make a fleet; whoever makes it owns it.
#[utoipa::path(post, path = "/api/v1/fleets", operation_id = "createFleet", tag = "fleets", responses((status = 201, description = "Made", body = Fleet)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewFleet>,
) -> Answer<(StatusCode, Json<Fleet>)> {
    check::text("description", &new.description, 1024)?;
    if !caller
        .scopes
        .iter()
        .any(|scope| scope.role_in(&new.name) == Some(Role::Owner))
    {
        return Err(Failure::forbidden(
            "this token may not own a fleet of that name",
        ));
    }
    let product = new.product.unwrap_or_else(|| new.name.clone());
    let fleet = Fleet {
        name: new.name,
        product,
        description: new.description,
        policy: Policy::Latest,
        windows: Vec::new(),
        zone: "UTC".to_owned(),
        created_at: clock::now(),
    };
    let owner = Member {
        user: caller.user.clone(),
        role: Role::Owner,
    };
    let mut tx = app.db.write().await?;
    db::fleets::insert(&mut tx, &fleet).await?;
    db::members::put(&mut tx, &fleet.name, &owner).await?;
    let (by, name) = (caller.by(), fleet.name.as_str());
    tx.record(Entry {
        by: &by,
        fleet: Some(&fleet.name),
        what: "fleet.created",
        subject: name,
        detail: String::new(),
    })
    .await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(fleet)))
}

/// One fleet.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}", operation_id = "showFleet", tag = "fleets", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "The fleet", body = Fleet)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<Name>,
) -> Answer<Json<Fleet>> {
    caller.require(&app, &name, Role::Viewer).await?;
    let fleet = db::fleets::find(&app.db, &name).await?;
    fleet.map(Json).ok_or_else(|| Failure::not_found("fleet"))
}

/// Change a fleet.
#[utoipa::path(patch, path = "/api/v1/fleets/{fleet}", operation_id = "updateFleet", tag = "fleets", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Changed", body = Fleet)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<Name>,
    Json(patch): Json<FleetPatch>,
) -> Answer<Json<Fleet>> {
    caller.require(&app, &name, Role::Operator).await?;
    let mut tx = app.db.write().await?;
    let fleet = db::fleets::find_in(&mut tx, &name).await?;
    let mut fleet = fleet.ok_or_else(|| Failure::not_found("fleet"))?;
    if let Some(description) = patch.description {
        check::text("description", &description, 1024)?;
        fleet.description = description;
    }
    if let Some(policy) = patch.policy {
        if let Policy::Pinned { release } = policy
            && db::releases::find(&app.db, &name, release).await?.is_none()
        {
            return Err(Failure::invalid(
                "policy.release",
                "the fleet has no such release",
            ));
        }
        fleet.policy = policy;
    }
    if let Some(windows) = patch.windows {
        check::windows("windows", &windows)?;
        fleet.windows = windows;
    }
    if let Some(zone) = patch.zone {
        check::zone("zone", &zone)?;
        fleet.zone = zone;
    }
    db::fleets::update(&mut tx, &fleet).await?;
    let (by, detail) = (caller.by(), told(&fleet));
    tx.record(Entry {
        by: &by,
        fleet: Some(&name),
        what: "fleet.updated",
        subject: name.as_str(),
        detail,
    })
    .await?;
    tx.commit().await?;
    let facts = direct::fleet_facts(&app, &name).await?;
    app.tell(&name, director::Event::Fleet(Box::new(facts)))
        .await?;
    Ok(Json(fleet))
}

/// Have every device of a fleet replace its keys, each at a time of its own.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/rotate-keys", operation_id = "rotateFleetKeys", tag = "fleets", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 202, description = "Planned; a device that is away is asked when it is back", body = RotationPlanned)))]
pub(super) async fn rotate_keys(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<Name>,
    Json(rotation): Json<FleetRotation>,
) -> Answer<(StatusCode, Json<RotationPlanned>)> {
    caller.require(&app, &name, Role::Operator).await?;
    if rotation.over_s > LONGEST_ROTATION_S {
        return Err(Failure::invalid(
            "over_s",
            format!("at most {LONGEST_ROTATION_S} seconds"),
        ));
    }
    let devices = app.rotate_fleet(&caller, &name, rotation.over_s).await?;
    Ok((StatusCode::ACCEPTED, Json(RotationPlanned { devices })))
}

/// What is recorded of a fleet that was changed.
fn told(fleet: &Fleet) -> String {
    let follows = match fleet.policy {
        Policy::Latest => "follows the newest release".to_owned(),
        Policy::Pinned { release } => format!("pinned to release {release}"),
    };
    match fleet.windows.as_slice() {
        [] => follows,
        windows => format!("{follows}; windows {} {}", windows.join(", "), fleet.zone),
    }
}

/// Remove a fleet that has no devices any more.
#[utoipa::path(delete, path = "/api/v1/fleets/{fleet}", operation_id = "deleteFleet", tag = "fleets", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 204, description = "Removed")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<Name>,
) -> Answer<StatusCode> {
    caller.require(&app, &name, Role::Owner).await?;
    let mut tx = app.db.write().await?;
    if !db::fleets::delete(&mut tx, &name).await? {
        return Err(Failure::not_found("fleet"));
    }
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(&name),
        what: "fleet.deleted",
        subject: name.as_str(),
        detail: String::new(),
    })
    .await?;
    tx.commit().await?;
    app.end_director(&name);
    Ok(StatusCode::NO_CONTENT)
}
