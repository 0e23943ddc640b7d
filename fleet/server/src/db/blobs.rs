//! Tables `blobs` and `repository_blobs`: what is stored, and which repository may see it.

use lightship_api::Name;
use sqlx::Row;

use super::{Db, Error, Tx, column, count};

/// Says that a blob is stored and belongs to a repository of a fleet.
pub(crate) async fn link(
    tx: &mut Tx<'_>,
    fleet: &Name,
    repository: &str,
    digest: &str,
    size: u64,
    now_ms: i64,
) -> Result<(), Error> {
    let query = "INSERT INTO blobs (digest, size, touched_at) VALUES ($1, $2, $3) ON CONFLICT (digest) DO UPDATE SET touched_at = excluded.touched_at";
    sqlx::query(query)
        .bind(digest)
        .bind(column(size))
        .bind(now_ms)
        .execute(tx.on())
        .await?;
    let query = "INSERT INTO repository_blobs (fleet, repository, digest, linked_at) VALUES ($1, $2, $3, $4) ON CONFLICT (repository, digest) DO UPDATE SET linked_at = excluded.linked_at";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(repository)
        .bind(digest)
        .bind(now_ms);
    query.execute(tx.on()).await?;
    Ok(())
}

/// The size of a blob of a repository.
pub(crate) async fn size(db: &Db, repository: &str, digest: &str) -> Result<Option<u64>, Error> {
    let query = "SELECT blobs.size AS size FROM repository_blobs JOIN blobs ON blobs.digest = repository_blobs.digest WHERE repository_blobs.repository = $1 AND repository_blobs.digest = $2";
    let row = sqlx::query(query)
        .bind(repository)
        .bind(digest)
        .fetch_optional(db.read())
        .await?;
    row.map(|row| count(&row, "size")).transpose()
}

/// The size of a blob of any repository of a fleet.
pub(crate) async fn size_in_fleet(
    db: &Db,
    fleet: &Name,
    digest: &str,
) -> Result<Option<u64>, Error> {
    let query = "SELECT blobs.size AS size FROM repository_blobs JOIN blobs ON blobs.digest = repository_blobs.digest WHERE repository_blobs.fleet = $1 AND repository_blobs.digest = $2 LIMIT 1";
    let row = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(digest)
        .fetch_optional(db.read())
        .await?;
    row.map(|row| count(&row, "size")).transpose()
}

/// Whether a repository has anything.
pub(crate) async fn repository_exists(db: &Db, repository: &str) -> Result<bool, Error> {
    let query = "SELECT (SELECT COUNT(*) FROM repository_blobs WHERE repository = $1) + (SELECT COUNT(*) FROM manifests WHERE repository = $1) AS things";
    let row = sqlx::query(query)
        .bind(repository)
        .fetch_one(db.read())
        .await?;
    Ok(row.try_get::<i64, _>("things")? > 0)
}

/// Takes a blob out of a repository.
pub(crate) async fn unlink(tx: &mut Tx<'_>, repository: &str, digest: &str) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM repository_blobs WHERE repository = $1 AND digest = $2");
    Ok(query
        .bind(repository)
        .bind(digest)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Takes blobs out of repositories whose manifests and releases do not name them, and have not for a while.
pub(crate) async fn unlink_unused(tx: &mut Tx<'_>, before_ms: i64) -> Result<u64, Error> {
    let query = "DELETE FROM repository_blobs WHERE linked_at < $1 AND NOT EXISTS (SELECT 1 FROM manifest_refs WHERE manifest_refs.repository = repository_blobs.repository AND manifest_refs.child = repository_blobs.digest) AND NOT EXISTS (SELECT 1 FROM release_blobs WHERE release_blobs.fleet = repository_blobs.fleet AND release_blobs.digest = repository_blobs.digest)";
    Ok(sqlx::query(query)
        .bind(before_ms)
        .execute(tx.on())
        .await?
        .rows_affected())
}

/// Blobs that no repository has, and that nobody sent lately.
pub(crate) async fn orphans(
    tx: &mut Tx<'_>,
    before_ms: i64,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let query = "SELECT digest FROM blobs WHERE touched_at < $1 AND NOT EXISTS (SELECT 1 FROM repository_blobs WHERE repository_blobs.digest = blobs.digest) LIMIT $2";
    let rows = sqlx::query(query)
        .bind(before_ms)
        .bind(limit)
        .fetch_all(tx.on())
        .await?;
    rows.iter().map(|row| Ok(row.try_get("digest")?)).collect()
}

/// Says that a blob is no longer stored.
pub(crate) async fn forget(tx: &mut Tx<'_>, digest: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM blobs WHERE digest = $1")
        .bind(digest)
        .execute(tx.on())
        .await?;
    Ok(())
}
