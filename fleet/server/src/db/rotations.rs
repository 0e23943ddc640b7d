//! Table `rotations`: devices that are to replace their keys, and when.

use lightship_api::Name;
use lightship_core::id::Uuid;

use super::{Db, Error, Tx, devices};

/// Asks every registered device of a fleet for new keys, each at a time of its own.
pub(crate) async fn plan(
    tx: &mut Tx<'_>,
    fleet: &Name,
    mut due_at: impl FnMut() -> i64,
) -> Result<u64, Error> {
    let query = sqlx::query(
        "SELECT uuid FROM devices WHERE fleet = $1 AND api_key IS NOT NULL ORDER BY uuid",
    );
    let rows = query.bind(fleet.as_str()).fetch_all(tx.on()).await?;
    let mut planned = 0;
    for row in &rows {
        let insert = "INSERT INTO rotations (device, due_at) VALUES ($1, $2) ON CONFLICT (device) DO UPDATE SET due_at = excluded.due_at";
        let insert = sqlx::query(insert)
            .bind(devices::uuid(row, "uuid")?.to_string())
            .bind(due_at());
        insert.execute(tx.on()).await?;
        planned += 1;
    }
    Ok(planned)
}

/// Devices whose time has come, the longest due first.
pub(crate) async fn due(db: &Db, now_ms: i64, limit: i64) -> Result<Vec<Uuid>, Error> {
    let query =
        sqlx::query("SELECT device FROM rotations WHERE due_at <= $1 ORDER BY due_at LIMIT $2");
    let rows = query.bind(now_ms).bind(limit).fetch_all(db.read()).await?;
    rows.iter()
        .map(|row| devices::uuid(row, "device"))
        .collect()
}

/// Takes a device off the list; false if somebody else did.
pub(crate) async fn take(tx: &mut Tx<'_>, uuid: &str) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM rotations WHERE device = $1").bind(uuid);
    Ok(query.execute(tx.on()).await?.rows_affected() == 1)
}

/// Puts a device that is away off until later.
pub(crate) async fn put_off(tx: &mut Tx<'_>, uuid: &str, due_at: i64) -> Result<(), Error> {
    let query = sqlx::query("UPDATE rotations SET due_at = $1 WHERE device = $2");
    query.bind(due_at).bind(uuid).execute(tx.on()).await?;
    Ok(())
}
