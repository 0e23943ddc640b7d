//! Tables `assignments` and `settings`: what one device is told, for that device alone.

use lightship_director::Filled;
use sqlx::Row;

use super::{Db, Error, Tx, column, count};

/// An assignment as it is sent, with the release that it names.
pub(crate) struct Stored {
    pub(crate) counter: u64,
    pub(crate) assignment: Vec<u8>,
    pub(crate) release: Vec<u8>,
}

/// Puts the newest assignment of a device in place of the one before.
pub(crate) async fn put(
    tx: &mut Tx<'_>,
    device: &str,
    counter: u64,
    document: &[u8],
    digest: &str,
) -> Result<(), Error> {
    let query = "INSERT INTO assignments (device, counter, document, digest) VALUES ($1, $2, $3, $4) ON CONFLICT (device) DO UPDATE SET counter = excluded.counter, document = excluded.document, digest = excluded.digest";
    let query = sqlx::query(query)
        .bind(device)
        .bind(column(counter))
        .bind(document.to_vec())
        .bind(digest);
    query.execute(tx.on()).await.map(|_| ())
}

/// The newest assignment of a device, with its release document.
pub(crate) async fn find(db: &Db, device: &str) -> Result<Option<Stored>, Error> {
    let query = "SELECT assignments.counter, assignments.document, release_documents.document AS release_document FROM assignments JOIN devices ON devices.uuid = assignments.device JOIN release_documents ON release_documents.fleet = devices.fleet AND release_documents.digest = assignments.digest WHERE assignments.device = $1";
    let row = sqlx::query(query)
        .bind(device)
        .fetch_optional(db.read())
        .await?;
    let stored = |row: sqlx::any::AnyRow| {
        Ok(Stored {
            counter: count(&row, "counter")?,
            assignment: row.try_get("document")?,
            release: row.try_get("release_document")?,
        })
    };
    row.map(stored).transpose()
}

/// Keeps the settings of a device, and those of the assignment before: it may still be reading them.
pub(crate) async fn put_settings(
    tx: &mut Tx<'_>,
    device: &str,
    settings: &[Filled],
) -> Result<(), Error> {
    const KEPT: i64 = 64;
    for filled in settings {
        let query = "INSERT INTO settings (device, digest, body) VALUES ($1, $2, $3) ON CONFLICT (device, digest) DO NOTHING";
        let query = sqlx::query(query)
            .bind(device)
            .bind(filled.digest.to_string())
            .bind(filled.bytes.clone());
        query.execute(tx.on()).await?;
    }
    let row = sqlx::query("SELECT COUNT(*) AS kept FROM settings WHERE device = $1")
        .bind(device)
        .fetch_one(tx.on())
        .await?;
    if row.try_get::<i64, _>("kept")? <= KEPT {
        return Ok(());
    }
    let now: Vec<String> = settings
        .iter()
        .map(|filled| filled.digest.to_string())
        .collect();
    let rows = sqlx::query("SELECT digest FROM settings WHERE device = $1")
        .bind(device)
        .fetch_all(tx.on())
        .await?;
    for row in rows {
        let digest: String = row.try_get("digest")?;
        if !now.contains(&digest) {
            let query = sqlx::query("DELETE FROM settings WHERE device = $1 AND digest = $2")
                .bind(device)
                .bind(digest);
            query.execute(tx.on()).await?;
        }
    }
    Ok(())
}

/// Settings of a device, by digest.
pub(crate) async fn settings(
    db: &Db,
    device: &str,
    digest: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let query = sqlx::query("SELECT body FROM settings WHERE device = $1 AND digest = $2");
    let row = query
        .bind(device)
        .bind(digest)
        .fetch_optional(db.read())
        .await?;
    row.map(|row| row.try_get("body")).transpose()
}
