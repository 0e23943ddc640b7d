//! People.

use axum::extract::State;
use axum::http::StatusCode;
use lightship_api::{NewUser, User, UserPatch};

use super::caller::Caller;
use super::check;
use super::extract::{Json, Path, Query};
use super::failure::{Answer, Failure};
use super::page::Page;
use crate::db::{self, Entry, Tx};
use crate::{App, clock};

/// All users.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "listUsers", tag = "users", params(Page), responses((status = 200, description = "Users", body = Vec<User>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Answer<Json<Vec<User>>> {
    caller.require_admin()?;
    Ok(Json(
        db::users::list(&app.db, page.after(), page.limit()).await?,
    ))
}

/// Make a user.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "createUser", tag = "users", responses((status = 201, description = "Made", body = User)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewUser>,
) -> Answer<(StatusCode, Json<User>)> {
    caller.require_admin()?;
    check::password("password", &new.password)?;
    let password = app.hash_password(new.password).await?;
    let user = User {
        name: new.name,
        admin: new.admin,
        created_at: clock::now(),
    };
    let mut tx = app.db.write().await?;
    db::users::insert(&mut tx, &user, &password).await?;
    record(
        &mut tx,
        &caller,
        "user.created",
        user.name.as_str(),
        admin_word(user.admin),
    )
    .await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// One user; everybody may see themselves.
#[utoipa::path(get, path = "/api/v1/users/{user}", operation_id = "showUser", tag = "users", params(("user" = String, Path, description = "The user's name")), responses((status = 200, description = "The user", body = User)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<User>> {
    if name != caller.user.as_str() {
        caller.require_admin()?;
    }
    find(&app, &name).await.map(|(user, _)| Json(user))
}

/// Change a password, or who administers the server.
#[utoipa::path(patch, path = "/api/v1/users/{user}", operation_id = "updateUser", tag = "users", params(("user" = String, Path, description = "The user's name")), responses((status = 200, description = "Changed", body = User)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(patch): Json<UserPatch>,
) -> Answer<Json<User>> {
    let own = name == caller.user.as_str();
    if !own || patch.admin.is_some() {
        caller.require_admin()?;
    }
    let (_, known) = find(&app, &name).await?;
    let password = match patch.password {
        None => None,
        Some(password) => {
            check::password("password", &password)?;
            if own
                && !app
                    .password_matches(patch.current_password.unwrap_or_default(), known)
                    .await?
            {
                return Err(Failure::invalid(
                    "current_password",
                    "this is not the password in use",
                ));
            }
            Some(app.hash_password(password).await?)
        }
    };
    let mut tx = app.db.write().await?;
    if let Some(password) = password {
        change_password(&mut tx, &caller, &name, &password).await?;
    }
    if let Some(admin) = patch.admin {
        change_admin(&mut tx, &caller, &name, admin).await?;
    }
    tx.commit().await?;
    find(&app, &name).await.map(|(user, _)| Json(user))
}

/// Remove a user with all tokens and memberships.
#[utoipa::path(delete, path = "/api/v1/users/{user}", operation_id = "deleteUser", tag = "users", params(("user" = String, Path, description = "The user's name")), responses((status = 204, description = "Removed")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    caller.require_admin()?;
    let mut tx = app.db.write().await?;
    if !db::users::delete(&mut tx, &name).await? {
        return Err(Failure::not_found("user"));
    }
    keep_an_admin(&mut tx).await?;
    record(&mut tx, &caller, "user.deleted", &name, "").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, name: &str) -> Answer<(User, String)> {
    db::users::find(&app.db, name)
        .await?
        .ok_or_else(|| Failure::not_found("user"))
}

/// A new password ends what the old one opened.
async fn change_password(
    tx: &mut Tx<'_>,
    caller: &Caller,
    name: &str,
    password: &str,
) -> Answer<()> {
    if !db::users::set_password(tx, name, password).await? {
        return Err(Failure::not_found("user"));
    }
    db::tokens::delete_sessions(tx, name).await?;
    record(tx, caller, "user.password-changed", name, "").await
}

async fn change_admin(tx: &mut Tx<'_>, caller: &Caller, name: &str, admin: bool) -> Answer<()> {
    if !db::users::set_admin(tx, name, admin).await? {
        return Err(Failure::not_found("user"));
    }
    keep_an_admin(tx).await?;
    record(tx, caller, "user.admin-changed", name, admin_word(admin)).await
}

/// Without an administrator nobody could ever make one.
async fn keep_an_admin(tx: &mut Tx<'_>) -> Answer<()> {
    if db::users::admins(tx).await? > 0 {
        return Ok(());
    }
    Err(Failure::conflict(
        "this would leave the server without an administrator",
    ))
}

fn admin_word(admin: bool) -> &'static str {
    if admin { "administrator" } else { "" }
}

async fn record(
    tx: &mut Tx<'_>,
    caller: &Caller,
    what: &'static str,
    subject: &str,
    detail: &str,
) -> Answer<()> {
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: None,
        what,
        subject,
        detail: detail.to_owned(),
    })
    .await?;
    Ok(())
}
