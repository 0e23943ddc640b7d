//! Table `tokens`.

use lightship_api::Token;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, json, parsed, time, to_json};

/// A token with what is needed to judge who shows it.
pub(crate) struct Known {
    pub(crate) token: Token,
    /// The keyed hash of its secret.
    pub(crate) secret: String,
    /// Whether its user administers the server.
    pub(crate) admin: bool,
}

fn token(row: &AnyRow) -> Result<Token, Error> {
    Ok(Token {
        id: row.try_get("id")?,
        user: parsed(row, "user_name")?,
        label: row.try_get("label")?,
        scopes: json(row, "scopes")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

/// The token with this identifier and its user's standing, in one look.
pub(crate) async fn find(db: &Db, id: &str) -> Result<Option<Known>, Error> {
    let query = "SELECT tokens.*, users.admin AS admin FROM tokens JOIN users ON users.name = tokens.user_name WHERE tokens.id = $1";
    let row = sqlx::query(query)
        .bind(id)
        .fetch_optional(db.read())
        .await?;
    let known = |row: AnyRow| {
        let admin = row.try_get::<i64, _>("admin")? != 0;
        Ok(Known {
            token: token(&row)?,
            secret: row.try_get("secret")?,
            admin,
        })
    };
    row.map(known).transpose()
}

/// The tokens of a user, newest last.
pub(crate) async fn list(db: &Db, user: &str) -> Result<Vec<Token>, Error> {
    let query = sqlx::query("SELECT * FROM tokens WHERE user_name = $1 ORDER BY created_at, id");
    query
        .bind(user)
        .fetch_all(db.read())
        .await?
        .iter()
        .map(token)
        .collect()
}

/// How many tokens a user has.
pub(crate) async fn count(tx: &mut Tx<'_>, user: &str) -> Result<i64, Error> {
    let query =
        sqlx::query("SELECT COUNT(*) AS tokens FROM tokens WHERE user_name = $1").bind(user);
    Ok(query.fetch_one(tx.on()).await?.try_get("tokens")?)
}

/// Adds a token; `session` says that a log-in made it.
pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    token: &Token,
    secret: &str,
    session: bool,
) -> Result<(), Error> {
    let query = "INSERT INTO tokens (id, user_name, label, secret, scopes, session, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let query = sqlx::query(query)
        .bind(token.id.as_str())
        .bind(token.user.as_str());
    let query = query
        .bind(token.label.as_str())
        .bind(secret)
        .bind(to_json(&token.scopes));
    let query = query
        .bind(i64::from(session))
        .bind(token.created_at.as_millis());
    query
        .bind(token.expires_at.as_millis())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Removes one token of a user.
pub(crate) async fn delete(tx: &mut Tx<'_>, user: &str, id: &str) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM tokens WHERE user_name = $1 AND id = $2")
        .bind(user)
        .bind(id);
    Ok(query.execute(tx.on()).await?.rows_affected() == 1)
}

/// Removes what log-ins made for a user.
pub(crate) async fn delete_sessions(tx: &mut Tx<'_>, user: &str) -> Result<(), Error> {
    let query = sqlx::query("DELETE FROM tokens WHERE user_name = $1 AND session = 1").bind(user);
    query.execute(tx.on()).await?;
    Ok(())
}

/// Removes what no longer works.
pub(crate) async fn delete_expired(tx: &mut Tx<'_>, now_ms: i64) -> Result<u64, Error> {
    let query = sqlx::query("DELETE FROM tokens WHERE expires_at < $1").bind(now_ms);
    Ok(query.execute(tx.on()).await?.rows_affected())
}
