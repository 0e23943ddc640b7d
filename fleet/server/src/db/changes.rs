//! Table `changes`; written by [`super::Tx::record`] alone, and never rewritten.

use lightship_api::{Change, Name};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, column, count, parsed, time};

fn change(row: &AnyRow) -> Result<Change, Error> {
    let fleet: Option<String> = row.try_get("fleet")?;
    Ok(Change {
        number: count(row, "number")?,
        at: time(row, "at")?,
        by: row.try_get("by_whom")?,
        fleet: fleet.is_some().then(|| parsed(row, "fleet")).transpose()?,
        what: row.try_get("what")?,
        subject: row.try_get("subject")?,
        detail: row.try_get("detail")?,
    })
}

/// What happened in a fleet before change `before`, newest first.
pub(crate) async fn of_fleet(
    db: &Db,
    fleet: &Name,
    before: u64,
    limit: i64,
) -> Result<Vec<Change>, Error> {
    let query = sqlx::query(
        "SELECT * FROM changes WHERE fleet = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
    );
    let query = query.bind(fleet.as_str()).bind(column(before)).bind(limit);
    query
        .fetch_all(db.read())
        .await?
        .iter()
        .map(change)
        .collect()
}

/// What happened in a fleet after change `after`, oldest first.
pub(crate) async fn since(
    db: &Db,
    fleet: &Name,
    after: u64,
    limit: i64,
) -> Result<Vec<Change>, Error> {
    let query = sqlx::query(
        "SELECT * FROM changes WHERE fleet = $1 AND number > $2 ORDER BY number LIMIT $3",
    );
    let query = query.bind(fleet.as_str()).bind(column(after)).bind(limit);
    query
        .fetch_all(db.read())
        .await?
        .iter()
        .map(change)
        .collect()
}

/// What happened on this server before change `before`, newest first.
pub(crate) async fn all(db: &Db, before: u64, limit: i64) -> Result<Vec<Change>, Error> {
    let query =
        sqlx::query("SELECT * FROM changes WHERE number < $1 ORDER BY number DESC LIMIT $2");
    query
        .bind(column(before))
        .bind(limit)
        .fetch_all(db.read())
        .await?
        .iter()
        .map(change)
        .collect()
}
