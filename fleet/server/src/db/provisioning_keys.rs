//! Table `provisioning_keys`.

use lightship_api::{Name, ProvisioningKey};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, count, maybe_time, parsed, time};

fn key(row: &AnyRow) -> Result<ProvisioningKey, Error> {
    Ok(ProvisioningKey {
        id: row.try_get("id")?,
        label: row.try_get("label")?,
        max_uses: count(row, "max_uses")?,
        uses: count(row, "uses")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        revoked_at: maybe_time(row, "revoked_at")?,
    })
}

/// The keys of a fleet, oldest first.
pub(crate) async fn list(db: &Db, fleet: &Name) -> Result<Vec<ProvisioningKey>, Error> {
    let query =
        sqlx::query("SELECT * FROM provisioning_keys WHERE fleet = $1 ORDER BY created_at, id");
    query
        .bind(fleet.as_str())
        .fetch_all(db.read())
        .await?
        .iter()
        .map(key)
        .collect()
}

/// How many keys a fleet has.
pub(crate) async fn count_of(tx: &mut Tx<'_>, fleet: &Name) -> Result<i64, Error> {
    let query = sqlx::query("SELECT COUNT(*) AS keys FROM provisioning_keys WHERE fleet = $1");
    let row = query.bind(fleet.as_str()).fetch_one(tx.on()).await?;
    Ok(row.try_get("keys")?)
}

/// Adds a key.
pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    fleet: &Name,
    key: &ProvisioningKey,
    secret: &str,
) -> Result<(), Error> {
    let query = "INSERT INTO provisioning_keys (id, fleet, label, secret, max_uses, uses, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, 0, $6, $7)";
    let query = sqlx::query(query)
        .bind(key.id.as_str())
        .bind(fleet.as_str())
        .bind(key.label.as_str());
    let query = query
        .bind(secret)
        .bind(i64::from(key.max_uses))
        .bind(key.created_at.as_millis());
    query
        .bind(key.expires_at.as_millis())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Ends a key; ending it twice changes nothing.
pub(crate) async fn revoke(
    tx: &mut Tx<'_>,
    fleet: &Name,
    id: &str,
    now_ms: i64,
) -> Result<bool, Error> {
    let query = "UPDATE provisioning_keys SET revoked_at = COALESCE(revoked_at, $1) WHERE fleet = $2 AND id = $3";
    let query = sqlx::query(query)
        .bind(now_ms)
        .bind(fleet.as_str())
        .bind(id);
    Ok(query.execute(tx.on()).await?.rows_affected() == 1)
}

/// What a shown secret opens, whether or not it still works.
pub(crate) struct Opened {
    pub(crate) id: String,
    pub(crate) fleet: Name,
    /// Neither expired nor revoked; it may be used up.
    pub(crate) valid: bool,
}

/// The key whose secret has this keyed hash.
pub(crate) async fn open(
    tx: &mut Tx<'_>,
    secret: &str,
    now_ms: i64,
) -> Result<Option<Opened>, Error> {
    let query = sqlx::query("SELECT * FROM provisioning_keys WHERE secret = $1").bind(secret);
    let Some(row) = query.fetch_optional(tx.on()).await? else {
        return Ok(None);
    };
    let (fleet, key) = (parsed(&row, "fleet")?, key(&row)?);
    let valid = key.revoked_at.is_none() && key.expires_at.as_millis() > now_ms;
    Ok(Some(Opened {
        id: key.id,
        fleet,
        valid,
    }))
}

/// Counts one use, unless the key is used up.
pub(crate) async fn spend(tx: &mut Tx<'_>, id: &str) -> Result<bool, Error> {
    let query = "UPDATE provisioning_keys SET uses = uses + 1 WHERE id = $1 AND uses < max_uses";
    Ok(sqlx::query(query)
        .bind(id)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// The identifiers of all keys that are neither expired, revoked nor used up.
pub(crate) async fn valid(db: &Db, now_ms: i64) -> Result<Vec<String>, Error> {
    let query = "SELECT id FROM provisioning_keys WHERE revoked_at IS NULL AND expires_at > $1 AND uses < max_uses";
    let rows = sqlx::query(query).bind(now_ms).fetch_all(db.read()).await?;
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}
