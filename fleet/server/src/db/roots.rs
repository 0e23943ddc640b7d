//! Table `roots`: the trust root of each fleet, version by version, as it was signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_api::{Name, Root, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, count, parsed, time};

fn root(row: &AnyRow) -> Result<Root, Error> {
    let document: Vec<u8> = row.try_get("document")?;
    Ok(Root {
        version: count(row, "version")?,
        document: STANDARD.encode(document),
        created_by: parsed(row, "created_by")?,
        created_at: time(row, "created_at")?,
    })
}

/// All versions, oldest first.
pub(crate) async fn list(db: &Db, fleet: &Name) -> Result<Vec<Root>, Error> {
    let query =
        sqlx::query("SELECT * FROM roots WHERE fleet = $1 ORDER BY version").bind(fleet.as_str());
    query.fetch_all(db.read()).await?.iter().map(root).collect()
}

/// The newest version.
pub(crate) async fn newest(db: &Db, fleet: &Name) -> Result<Option<Vec<u8>>, Error> {
    let query =
        sqlx::query("SELECT document FROM roots WHERE fleet = $1 ORDER BY version DESC LIMIT 1");
    let row = query.bind(fleet.as_str()).fetch_optional(db.read()).await?;
    row.map(|row| Ok(row.try_get("document")?)).transpose()
}

/// One version.
pub(crate) async fn find(db: &Db, fleet: &Name, version: u32) -> Result<Option<Vec<u8>>, Error> {
    let query = sqlx::query("SELECT document FROM roots WHERE fleet = $1 AND version = $2");
    let row = query
        .bind(fleet.as_str())
        .bind(i64::from(version))
        .fetch_optional(db.read())
        .await?;
    row.map(|row| Ok(row.try_get("document")?)).transpose()
}

/// Adds a version.
pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    fleet: &Name,
    version: u32,
    document: &[u8],
    by: &Name,
    at: Timestamp,
) -> Result<(), Error> {
    let query = "INSERT INTO roots (fleet, version, document, created_by, created_at) VALUES ($1, $2, $3, $4, $5)";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(i64::from(version))
        .bind(document.to_vec());
    query
        .bind(by.as_str())
        .bind(at.as_millis())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// The number of the newest version; 0 without any.
pub(crate) async fn newest_version(db: &Db, fleet: &Name) -> Result<u32, Error> {
    let query =
        sqlx::query("SELECT COALESCE(MAX(version), 0) AS newest FROM roots WHERE fleet = $1");
    count(
        &query.bind(fleet.as_str()).fetch_one(db.read()).await?,
        "newest",
    )
}
