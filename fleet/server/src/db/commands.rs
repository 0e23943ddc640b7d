//! Table `commands`: what devices were asked to do and have not acknowledged.

use lightship_core::wire::Order;
use sqlx::Row;

use super::{Db, Error, Tx, column, count, json, to_json};
use crate::clock;

/// Commands of one device that wait; the oldest give way.
const WAITING: i64 = 16;
/// How long a command is meant: nobody wants yesterday's reboot.
pub(crate) const LIFE_MS: i64 = 3600 * 1000;

/// A command that waits.
pub(crate) struct Pending {
    pub(crate) id: u64,
    pub(crate) order: Order,
    pub(crate) created_at_ms: i64,
}

/// Adds a command and returns its identifier, which is higher than any before.
pub(crate) async fn insert(tx: &mut Tx<'_>, device: &str, order: &Order) -> Result<u64, Error> {
    let query =
        "UPDATE devices SET last_command = last_command + 1 WHERE uuid = $1 RETURNING last_command";
    let row = sqlx::query(query).bind(device).fetch_one(tx.on()).await?;
    let id: i64 = row.try_get("last_command")?;
    let query = sqlx::query(
        "INSERT INTO commands (device, id, command_order, created_at) VALUES ($1, $2, $3, $4)",
    );
    query
        .bind(device)
        .bind(id)
        .bind(to_json(order))
        .bind(clock::now_ms())
        .execute(tx.on())
        .await?;
    let query = sqlx::query("DELETE FROM commands WHERE device = $1 AND id <= $2");
    query
        .bind(device)
        .bind(id - WAITING)
        .execute(tx.on())
        .await?;
    Ok(u64::try_from(id).unwrap_or_default())
}

/// The commands of a device after `after` that are still meant, oldest first.
pub(crate) async fn pending(db: &Db, device: &str, after: u64) -> Result<Vec<Pending>, Error> {
    let query = sqlx::query(
        "SELECT * FROM commands WHERE device = $1 AND id > $2 AND created_at > $3 ORDER BY id",
    );
    let rows = query
        .bind(device)
        .bind(column(after))
        .bind(clock::now_ms() - LIFE_MS)
        .fetch_all(db.read())
        .await?;
    let pending = |row: &sqlx::any::AnyRow| {
        Ok(Pending {
            id: count(row, "id")?,
            order: json(row, "command_order")?,
            created_at_ms: row.try_get("created_at")?,
        })
    };
    rows.iter().map(pending).collect()
}

/// Forgets the commands of a device up to `id`; says whether there were any.
pub(crate) async fn acknowledge(tx: &mut Tx<'_>, device: &str, id: u64) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM commands WHERE device = $1 AND id <= $2");
    Ok(query
        .bind(device)
        .bind(column(id))
        .execute(tx.on())
        .await?
        .rows_affected()
        > 0)
}
