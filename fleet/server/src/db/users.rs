//! Table `users`.

use lightship_api::User;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, parsed, time};

fn user(row: &AnyRow) -> Result<User, Error> {
    Ok(User {
        name: parsed(row, "name")?,
        admin: row.try_get::<i64, _>("admin")? != 0,
        created_at: time(row, "created_at")?,
    })
}

/// All users by name, after `after`.
pub(crate) async fn list(db: &Db, after: &str, limit: i64) -> Result<Vec<User>, Error> {
    let query = sqlx::query("SELECT * FROM users WHERE name > $1 ORDER BY name LIMIT $2");
    query
        .bind(after)
        .bind(limit)
        .fetch_all(db.read())
        .await?
        .iter()
        .map(user)
        .collect()
}

/// A user and the hash of the password.
pub(crate) async fn find(db: &Db, name: &str) -> Result<Option<(User, String)>, Error> {
    let query = sqlx::query("SELECT * FROM users WHERE name = $1").bind(name);
    let row = query.fetch_optional(db.read()).await?;
    row.map(|row| Ok((user(&row)?, row.try_get("password")?)))
        .transpose()
}

/// Whether there is no user at all.
pub(crate) async fn is_empty(tx: &mut Tx<'_>) -> Result<bool, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS users FROM users")
        .fetch_one(tx.on())
        .await?;
    Ok(row.try_get::<i64, _>("users")? == 0)
}

/// How many administrators there are.
pub(crate) async fn admins(tx: &mut Tx<'_>) -> Result<i64, Error> {
    let query = sqlx::query("SELECT COUNT(*) AS admins FROM users WHERE admin = 1");
    Ok(query.fetch_one(tx.on()).await?.try_get("admins")?)
}

/// Adds a user.
pub(crate) async fn insert(tx: &mut Tx<'_>, user: &User, password: &str) -> Result<(), Error> {
    let query = sqlx::query(
        "INSERT INTO users (name, password, admin, created_at) VALUES ($1, $2, $3, $4)",
    );
    let query = query
        .bind(user.name.as_str())
        .bind(password)
        .bind(i64::from(user.admin));
    query
        .bind(user.created_at.as_millis())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Sets the hash of the password.
pub(crate) async fn set_password(
    tx: &mut Tx<'_>,
    name: &str,
    password: &str,
) -> Result<bool, Error> {
    let query = sqlx::query("UPDATE users SET password = $1 WHERE name = $2");
    Ok(query
        .bind(password)
        .bind(name)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Sets whether the user administers the server.
pub(crate) async fn set_admin(tx: &mut Tx<'_>, name: &str, admin: bool) -> Result<bool, Error> {
    let query = sqlx::query("UPDATE users SET admin = $1 WHERE name = $2");
    Ok(query
        .bind(i64::from(admin))
        .bind(name)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Removes a user with all tokens and memberships.
pub(crate) async fn delete(tx: &mut Tx<'_>, name: &str) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM users WHERE name = $1").bind(name);
    Ok(query.execute(tx.on()).await?.rows_affected() == 1)
}
