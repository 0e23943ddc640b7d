//! Logging in and out, and tokens for programs.

use axum::extract::State;
use axum::http::{Extensions, StatusCode};
use lightship_api::{CreatedToken, Login, Me, Name, NewToken, Role, Scope, Timestamp, Token};

use super::caller::{Caller, TOKEN_KIND};
use super::check;
use super::extract::{Json, Path};
use super::failure::{Answer, Failure};
use super::peer::Peer;
use crate::db::{self, Entry};
use crate::{App, clock, secret};

/// How long a log-in lasts: 30 days.
const SESSION_MS: i64 = 30 * 24 * 3600 * 1000;
/// Tokens of one user.
const TOKENS: i64 = 1000;
/// Scopes of one token.
const SCOPES: usize = 32;

/// Log in: exchange name and password for a token.
#[utoipa::path(post, path = "/api/v1/session", operation_id = "logIn", tag = "tokens", security(()), responses((status = 201, description = "Logged in", body = CreatedToken)))]
pub(super) async fn log_in(
    State(app): State<App>,
    extensions: Extensions,
    Json(login): Json<Login>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    let peer = Peer::of_extensions(&extensions);
    app.failures.check(&peer)?;
    let Some((user, admin)) = app.log_in(login).await? else {
        app.failures.count(&peer);
        return Err(Failure::unauthorized());
    };
    let scope = if admin {
        Scope::Admin
    } else {
        Scope::Everywhere(Role::Owner)
    };
    let expires_at = Timestamp::from_millis(clock::now_ms() + SESSION_MS);
    let made = make(&user, "log-in".to_owned(), vec![scope], expires_at);
    store(&app, &made, true, "session.opened").await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Log out: end the token in use.
#[utoipa::path(delete, path = "/api/v1/session", operation_id = "logOut", tag = "tokens", responses((status = 204, description = "Logged out")))]
pub(super) async fn log_out(State(app): State<App>, caller: Caller) -> Answer<StatusCode> {
    end(&app, &caller, &caller.token).await
}

/// Who is calling.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "showMe", tag = "tokens", responses((status = 200, description = "The caller", body = Me)))]
pub(super) async fn me(caller: Caller) -> Json<Me> {
    Json(Me {
        name: caller.user,
        admin: caller.admin,
        scopes: caller.scopes,
    })
}

/// The caller's tokens.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "listTokens", tag = "tokens", responses((status = 200, description = "Tokens", body = Vec<Token>)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<Vec<Token>>> {
    Ok(Json(db::tokens::list(&app.db, caller.user.as_str()).await?))
}

/// Make a token that may do no more than the one in use.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "createToken", tag = "tokens", responses((status = 201, description = "Made; the secret is shown this once", body = CreatedToken)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewToken>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    check::text("label", &new.label, 128)?;
    check::expiry("expires_at", new.expires_at)?;
    if !(1..=SCOPES).contains(&new.scopes.len()) {
        return Err(Failure::invalid("scopes", format!("1 to {SCOPES} scopes")));
    }
    let covered = |scope: &Scope| caller.scopes.iter().any(|mine| mine.covers(scope));
    if let Some(position) = new.scopes.iter().position(|scope| !covered(scope)) {
        return Err(Failure::invalid(
            format!("scopes[{position}]"),
            "beyond what the token in use may do",
        ));
    }
    let made = make(&caller.user, new.label, new.scopes, new.expires_at);
    store(&app, &made, false, "token.created").await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// End a token of the caller.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", operation_id = "deleteToken", tag = "tokens", params(("token" = String, Path, description = "The token's identifier")), responses((status = 204, description = "Ended")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(token): Path<String>,
) -> Answer<StatusCode> {
    end(&app, &caller, &token).await
}

fn make(user: &Name, label: String, scopes: Vec<Scope>, expires_at: Timestamp) -> CreatedToken {
    let id = secret::new_id();
    let secret = secret::new_secret(TOKEN_KIND, &id);
    let token = Token {
        id,
        user: user.clone(),
        label,
        scopes,
        created_at: clock::now(),
        expires_at,
    };
    CreatedToken { secret, token }
}

async fn store(app: &App, made: &CreatedToken, session: bool, what: &'static str) -> Answer<()> {
    let mut tx = app.db.write().await?;
    let user = made.token.user.as_str();
    if db::tokens::count(&mut tx, user).await? >= TOKENS {
        return Err(Failure::limit(format!(
            "a user has at most {TOKENS} tokens; delete some"
        )));
    }
    db::tokens::insert(
        &mut tx,
        &made.token,
        &app.secrets.hash(&made.secret),
        session,
    )
    .await?;
    let by = format!("user:{user}");
    tx.record(Entry {
        by: &by,
        fleet: None,
        what,
        subject: &made.token.id,
        detail: made.token.label.clone(),
    })
    .await?;
    Ok(tx.commit().await?)
}

async fn end(app: &App, caller: &Caller, id: &str) -> Answer<StatusCode> {
    let mut tx = app.db.write().await?;
    if !db::tokens::delete(&mut tx, caller.user.as_str(), id).await? {
        return Err(Failure::not_found("token"));
    }
    let by = caller.by();
    tx.record(Entry {
        by: &by,
        fleet: None,
        what: "token.deleted",
        subject: id,
        detail: String::new(),
    })
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
