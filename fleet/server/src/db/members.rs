//! Table `members`.

use lightship_api::{Member, Name, Role};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, parsed, undecodable};

fn role(row: &AnyRow) -> Result<Role, Error> {
    let text: String = row.try_get("role")?;
    text.parse().map_err(|error| undecodable("role", error))
}

/// Who works in a fleet, by name.
pub(crate) async fn list(db: &Db, fleet: &Name) -> Result<Vec<Member>, Error> {
    let query = sqlx::query("SELECT * FROM members WHERE fleet = $1 ORDER BY user_name");
    let rows = query.bind(fleet.as_str()).fetch_all(db.read()).await?;
    let member = |row: &AnyRow| {
        Ok(Member {
            user: parsed(row, "user_name")?,
            role: role(row)?,
        })
    };
    rows.iter().map(member).collect()
}

/// The role of a user in a fleet.
pub(crate) async fn find(db: &Db, fleet: &Name, user: &Name) -> Result<Option<Role>, Error> {
    let query = sqlx::query("SELECT role FROM members WHERE fleet = $1 AND user_name = $2");
    let row = query
        .bind(fleet.as_str())
        .bind(user.as_str())
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(role).transpose()
}

/// How many owners a fleet has besides `user`.
pub(crate) async fn other_owners(tx: &mut Tx<'_>, fleet: &Name, user: &str) -> Result<i64, Error> {
    let query = "SELECT COUNT(*) AS owners FROM members WHERE fleet = $1 AND user_name <> $2 AND role = 'owner'";
    let row = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(user)
        .fetch_one(tx.on())
        .await?;
    Ok(row.try_get("owners")?)
}

/// Gives a user a role, whatever it was before.
pub(crate) async fn put(tx: &mut Tx<'_>, fleet: &Name, member: &Member) -> Result<(), Error> {
    let query = "INSERT INTO members (fleet, user_name, role) VALUES ($1, $2, $3) ON CONFLICT (fleet, user_name) DO UPDATE SET role = excluded.role";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(member.user.as_str());
    query.bind(member.role.as_str()).execute(tx.on()).await?;
    Ok(())
}

/// Takes a user out of a fleet.
pub(crate) async fn delete(tx: &mut Tx<'_>, fleet: &Name, user: &str) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM members WHERE fleet = $1 AND user_name = $2");
    Ok(query
        .bind(fleet.as_str())
        .bind(user)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}
