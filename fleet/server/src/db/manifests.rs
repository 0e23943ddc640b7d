//! Tables `manifests`, `manifest_refs` and `tags`.

use lightship_api::Name;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx};

/// A manifest as it was pushed.
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
}

/// A manifest to be stored.
pub(crate) struct New<'a> {
    pub(crate) fleet: &'a Name,
    pub(crate) repository: &'a str,
    pub(crate) manifest: &'a Manifest,
    /// What it refers to as its subject.
    pub(crate) subject: Option<&'a str>,
    /// What a list of referrers says of it, JSON.
    pub(crate) descriptor: &'a str,
    /// What it is made of.
    pub(crate) children: &'a [String],
    pub(crate) now_ms: i64,
}

fn manifest(row: &AnyRow) -> Result<Manifest, Error> {
    Ok(Manifest {
        digest: row.try_get("digest")?,
        media_type: row.try_get("media_type")?,
        body: row.try_get("body")?,
    })
}

/// Stores a manifest; storing it again only makes it young again.
pub(crate) async fn put(tx: &mut Tx<'_>, new: &New<'_>) -> Result<(), Error> {
    let query = "INSERT INTO manifests (fleet, repository, digest, media_type, subject, descriptor, body, pushed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type, pushed_at = excluded.pushed_at";
    let manifest = new.manifest;
    let query = sqlx::query(query)
        .bind(new.fleet.as_str())
        .bind(new.repository)
        .bind(manifest.digest.as_str());
    let query = query
        .bind(manifest.media_type.as_str())
        .bind(new.subject)
        .bind(new.descriptor);
    query
        .bind(manifest.body.clone())
        .bind(new.now_ms)
        .execute(tx.on())
        .await?;
    for child in new.children {
        let query = "INSERT INTO manifest_refs (repository, digest, child) VALUES ($1, $2, $3) ON CONFLICT (repository, digest, child) DO NOTHING";
        let query = sqlx::query(query)
            .bind(new.repository)
            .bind(manifest.digest.as_str())
            .bind(child.as_str());
        query.execute(tx.on()).await?;
    }
    Ok(())
}

/// Points a tag at a manifest.
pub(crate) async fn put_tag(
    tx: &mut Tx<'_>,
    repository: &str,
    tag: &str,
    digest: &str,
) -> Result<(), Error> {
    let query = "INSERT INTO tags (repository, tag, digest) VALUES ($1, $2, $3) ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest";
    sqlx::query(query)
        .bind(repository)
        .bind(tag)
        .bind(digest)
        .execute(tx.on())
        .await?;
    Ok(())
}

/// A manifest by digest.
pub(crate) async fn find(
    db: &Db,
    repository: &str,
    digest: &str,
) -> Result<Option<Manifest>, Error> {
    let query = sqlx::query("SELECT * FROM manifests WHERE repository = $1 AND digest = $2");
    let row = query
        .bind(repository)
        .bind(digest)
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(manifest).transpose()
}

/// A manifest by tag.
pub(crate) async fn find_tagged(
    db: &Db,
    repository: &str,
    tag: &str,
) -> Result<Option<Manifest>, Error> {
    let query = "SELECT manifests.* FROM tags JOIN manifests ON manifests.repository = tags.repository AND manifests.digest = tags.digest WHERE tags.repository = $1 AND tags.tag = $2";
    let row = sqlx::query(query)
        .bind(repository)
        .bind(tag)
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(manifest).transpose()
}

/// The bytes of a manifest of any repository of a fleet.
pub(crate) async fn body_in_fleet(
    db: &Db,
    fleet: &Name,
    digest: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let query = sqlx::query("SELECT body FROM manifests WHERE fleet = $1 AND digest = $2 LIMIT 1");
    let row = query
        .bind(fleet.as_str())
        .bind(digest)
        .fetch_optional(db.read())
        .await?;
    row.map(|row| Ok(row.try_get("body")?)).transpose()
}

/// The tags of a repository in order, after `last`.
pub(crate) async fn tags(
    db: &Db,
    repository: &str,
    last: &str,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let query = sqlx::query(
        "SELECT tag FROM tags WHERE repository = $1 AND tag > $2 ORDER BY tag LIMIT $3",
    );
    let rows = query
        .bind(repository)
        .bind(last)
        .bind(limit)
        .fetch_all(db.read())
        .await?;
    rows.iter().map(|row| Ok(row.try_get("tag")?)).collect()
}

/// The descriptors of the manifests that refer to a subject, JSON.
pub(crate) async fn referrers(
    db: &Db,
    repository: &str,
    subject: &str,
) -> Result<Vec<String>, Error> {
    let query = sqlx::query(
        "SELECT descriptor FROM manifests WHERE repository = $1 AND subject = $2 ORDER BY digest",
    );
    let rows = query
        .bind(repository)
        .bind(subject)
        .fetch_all(db.read())
        .await?;
    rows.iter()
        .map(|row| Ok(row.try_get("descriptor")?))
        .collect()
}

/// Removes a manifest with the tags that point at it.
pub(crate) async fn delete(tx: &mut Tx<'_>, repository: &str, digest: &str) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM manifests WHERE repository = $1 AND digest = $2");
    Ok(query
        .bind(repository)
        .bind(digest)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Removes a tag.
pub(crate) async fn delete_tag(
    tx: &mut Tx<'_>,
    repository: &str,
    tag: &str,
) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM tags WHERE repository = $1 AND tag = $2");
    Ok(query
        .bind(repository)
        .bind(tag)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Removes manifests that no tag, index, release or subject keeps, and that nobody pushed lately.
pub(crate) async fn delete_unused(tx: &mut Tx<'_>, before_ms: i64) -> Result<u64, Error> {
    let query = "DELETE FROM manifests WHERE pushed_at < $1 AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.repository = manifests.repository AND tags.digest = manifests.digest) AND NOT EXISTS (SELECT 1 FROM manifest_refs WHERE manifest_refs.repository = manifests.repository AND manifest_refs.child = manifests.digest) AND NOT EXISTS (SELECT 1 FROM release_blobs WHERE release_blobs.fleet = manifests.fleet AND release_blobs.digest = manifests.digest) AND NOT EXISTS (SELECT 1 FROM manifests AS subjects WHERE subjects.repository = manifests.repository AND subjects.digest = manifests.subject)";
    Ok(sqlx::query(query)
        .bind(before_ms)
        .execute(tx.on())
        .await?
        .rows_affected())
}
