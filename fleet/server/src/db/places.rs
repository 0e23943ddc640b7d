//! Where each device is in the tunnel: its number, which stands for its address, and its keys.

use lightship_core::id::Uuid;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::devices::uuid;
use super::{Db, Error, Tx, count};

/// A device's place in the tunnel: its number, which stands for its address, and its keys.
pub(crate) struct Placed {
    pub(crate) uuid: Uuid,
    pub(crate) address: i64,
    pub(crate) wireguard: Option<String>,
    pub(crate) next_wireguard: Option<String>,
    /// The hub key that it used last, or was told when it registered.
    pub(crate) hub_key: Option<String>,
    /// The number of its pre-shared key, and of the one that is to replace it.
    pub(crate) preshared: Option<i64>,
    pub(crate) next_preshared: Option<i64>,
}

fn placed_device(row: &AnyRow) -> Result<Placed, Error> {
    Ok(Placed {
        uuid: uuid(row, "uuid")?,
        hub_key: row.try_get("hub_key")?,
        preshared: row.try_get("preshared")?,
        next_preshared: row.try_get("next_preshared")?,
        address: row.try_get("number")?,
        wireguard: row.try_get("wireguard")?,
        next_wireguard: row.try_get("next_wireguard")?,
    })
}

/// Gives a device a number of its own.
pub(crate) async fn place(tx: &mut Tx<'_>, uuid: &str) -> Result<(), Error> {
    let query = "INSERT INTO addresses (device) VALUES ($1) ON CONFLICT (device) DO NOTHING";
    sqlx::query(query).bind(uuid).execute(tx.on()).await?;
    Ok(())
}

/// Where all registered devices are.
pub(crate) async fn placed(db: &Db) -> Result<Vec<Placed>, Error> {
    let query = "SELECT devices.*, addresses.number FROM devices JOIN addresses ON addresses.device = devices.uuid WHERE api_key IS NOT NULL";
    sqlx::query(query)
        .fetch_all(db.read())
        .await?
        .iter()
        .map(placed_device)
        .collect()
}

/// Where a device is; an empty fleet stands for any.
pub(crate) async fn find_placed(db: &Db, fleet: &str, uuid: &str) -> Result<Option<Placed>, Error> {
    let query = "SELECT devices.*, addresses.number FROM devices JOIN addresses ON addresses.device = devices.uuid WHERE devices.uuid = $1 AND ($2 = '' OR devices.fleet = $2)";
    let row = sqlx::query(query)
        .bind(uuid)
        .bind(fleet)
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(placed_device).transpose()
}

/// The proposed tunnel key was used.
pub(crate) async fn retire_tunnel_key(
    db: &Db,
    number: i64,
    current: &str,
    now_ms: i64,
) -> Result<(), Error> {
    let mut tx = db.write().await?;
    let query = "UPDATE devices SET wireguard = next_wireguard, next_wireguard = NULL, tunnel_key_changed_at = $3 WHERE next_wireguard = $1 AND uuid = (SELECT device FROM addresses WHERE number = $2)";
    sqlx::query(query)
        .bind(current)
        .bind(number)
        .bind(now_ms)
        .execute(tx.on())
        .await?;
    tx.commit().await
}

/// Who is at an address.
pub(crate) async fn placed_at(db: &Db, number: i64) -> Result<Option<Placed>, Error> {
    let query = "SELECT devices.*, addresses.number FROM devices JOIN addresses ON addresses.device = devices.uuid WHERE addresses.number = $1";
    let row = sqlx::query(query)
        .bind(number)
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(placed_device).transpose()
}

/// Registered devices that have not used this hub key yet.
pub(crate) async fn behind(db: &Db, hub_key: &str) -> Result<u64, Error> {
    let query = "SELECT COUNT(*) AS behind FROM devices JOIN addresses ON addresses.device = devices.uuid WHERE api_key IS NOT NULL AND wireguard IS NOT NULL AND (hub_key IS NULL OR hub_key <> $1)";
    let row = sqlx::query(query)
        .bind(hub_key)
        .fetch_one(db.read())
        .await?;
    count(&row, "behind")
}

/// The hub key that a device was told or has used.
pub(crate) async fn set_hub_key(tx: &mut Tx<'_>, uuid: &str, key: &str) -> Result<(), Error> {
    let query = sqlx::query("UPDATE devices SET hub_key = $1 WHERE uuid = $2");
    query.bind(key).bind(uuid).execute(tx.on()).await?;
    Ok(())
}

/// The hub key that a device has used.
pub(crate) async fn use_hub_key(db: &Db, uuid: &str, key: &str) -> Result<(), Error> {
    let mut tx = db.write().await?;
    set_hub_key(&mut tx, uuid, key).await?;
    tx.commit().await
}

/// Numbers a new pre-shared key of a device, unless one waits to be used already.
pub(crate) async fn offer_preshared(db: &Db, uuid: &str) -> Result<(), Error> {
    let mut tx = db.write().await?;
    let query = "UPDATE devices SET next_preshared = COALESCE(preshared, 0) + 1 WHERE uuid = $1 AND next_preshared IS NULL AND wireguard IS NOT NULL";
    sqlx::query(query).bind(uuid).execute(tx.on()).await?;
    tx.commit().await
}

/// The new pre-shared key of a device was used.
pub(crate) async fn retire_preshared(db: &Db, uuid: &str) -> Result<(), Error> {
    let mut tx = db.write().await?;
    let query = "UPDATE devices SET preshared = next_preshared, next_preshared = NULL WHERE uuid = $1 AND next_preshared IS NOT NULL";
    sqlx::query(query).bind(uuid).execute(tx.on()).await?;
    tx.commit().await
}
