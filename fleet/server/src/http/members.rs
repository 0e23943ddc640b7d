//! Who works in a fleet.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{Member, Name, NewMember, Role};

use super::caller::Caller;
use super::extract::{Json, Path};
use super::failure::{Answer, Failure};
use crate::App;
use crate::db::{self, Entry, Tx};

/// Who works in the fleet.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/members", operation_id = "listMembers", tag = "members", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Members", body = Vec<Member>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
) -> Answer<Json<Vec<Member>>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    Ok(Json(db::members::list(&app.db, &fleet).await?))
}

/// Give a user a role in the fleet.
#[utoipa::path(put, path = "/api/v1/fleets/{fleet}/members/{user}", operation_id = "putMember", tag = "members", params(("fleet" = Name, Path, description = "The fleet's name"), ("user" = Name, Path, description = "The user's name")), responses((status = 200, description = "Given", body = Member)))]
pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, user)): Path<(Name, Name)>,
    Json(new): Json<NewMember>,
) -> Answer<Json<Member>> {
    caller.require(&app, &fleet, Role::Owner).await?;
    let member = Member {
        user,
        role: new.role,
    };
    let mut tx = app.db.write().await?;
    db::members::put(&mut tx, &fleet, &member).await?;
    if member.role != Role::Owner {
        keep_an_owner(&mut tx, &fleet, member.user.as_str()).await?;
    }
    let (by, detail) = (caller.by(), member.role.as_str().to_owned());
    tx.record(Entry {
        by: &by,
        fleet: Some(&fleet),
        what: "member.set",
        subject: member.user.as_str(),
        detail,
    })
    .await?;
    tx.commit().await?;
    Ok(Json(member))
}

/// Take a user out of the fleet.
#[utoipa::path(delete, path = "/api/v1/fleets/{fleet}/members/{user}", operation_id = "deleteMember", tag = "members", params(("fleet" = Name, Path, description = "The fleet's name"), ("user" = Name, Path, description = "The user's name")), responses((status = 204, description = "Taken out")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, user)): Path<(Name, Name)>,
) -> Answer<StatusCode> {
    caller.require(&app, &fleet, Role::Owner).await?;
    let mut tx = app.db.write().await?;
    if !db::members::delete(&mut tx, &fleet, user.as_str()).await? {
        return Err(Failure::not_found("member"));
    }
    keep_an_owner(&mut tx, &fleet, user.as_str()).await?;
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: Some(&fleet),
        what: "member.deleted",
        subject: user.as_str(),
        detail: String::new(),
    })
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keep_an_owner(tx: &mut Tx<'_>, fleet: &Name, without: &str) -> Answer<()> {
    if db::members::other_owners(tx, fleet, without).await? > 0 {
        return Ok(());
    }
    Err(Failure::conflict(
        "this would leave the fleet without an owner",
    ))
}
