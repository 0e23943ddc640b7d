//! Tables `assignments` and `settings`: what one device is told, for that device alone.

use lightship_core::id::Uuid;
use lightship_director::Filled;
use sqlx::Row;

use super::devices::uuid;
use super::{Db, Error, Tx, column, count, many};

/// An assignment as it is sent, with the release that it names.
pub(crate) struct Stored {
    pub(crate) counter: u64,
    pub(crate) assignment: Vec<u8>,
    pub(crate) release: Vec<u8>,
}

/// An assignment that is to be stored.
pub(crate) struct New {
    pub(crate) device: Uuid,
    pub(crate) counter: u64,
    /// Number of the release.
    pub(crate) release: u64,
    pub(crate) document: Vec<u8>,
    /// Of the release document.
    pub(crate) digest: String,
    pub(crate) settings: Vec<Filled>,
}

/// Puts the newest assignments in place of those before, one of each device.
pub(crate) async fn put(tx: &mut Tx<'_>, assignments: &[New]) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO assignments (device, counter, document, digest) VALUES";
    const TAIL: &str = "ON CONFLICT (device) DO UPDATE SET counter = excluded.counter, document = excluded.document, digest = excluded.digest";
    for rows in assignments.chunks(many::ROWS) {
        let mut query = sqlx::query(many::statement(HEAD, [rows.len(), 4], TAIL));
        for new in rows {
            query = query.bind(new.device.to_string()).bind(column(new.counter));
            query = query.bind(new.document.clone()).bind(new.digest.as_str());
        }
        query.execute(tx.on()).await?;
    }
    put_settings(tx, assignments).await
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

/// Keeps the settings of devices, and those of the assignments before: they may still be reading them.
async fn put_settings(tx: &mut Tx<'_>, assignments: &[New]) -> Result<(), Error> {
    const HEAD: &str = "INSERT INTO settings (device, digest, body) VALUES";
    const TAIL: &str = "ON CONFLICT (device, digest) DO NOTHING";
    let mut all: Vec<(Uuid, &Filled)> = Vec::new();
    for new in assignments {
        all.extend(new.settings.iter().map(|filled| (new.device, filled)));
    }
    for rows in all.chunks(many::ROWS) {
        let mut query = sqlx::query(many::statement(HEAD, [rows.len(), 3], TAIL));
        for (device, filled) in rows {
            query = query.bind(device.to_string());
            query = query
                .bind(filled.digest.to_string())
                .bind(filled.bytes.clone());
        }
        query.execute(tx.on()).await?;
    }
    let filled = assignments.iter().filter(|new| !new.settings.is_empty());
    let filled: Vec<&New> = filled.collect();
    for rows in filled.chunks(many::ROWS) {
        let crowded = crowded(tx, rows).await?;
        for new in rows.iter().filter(|new| crowded.contains(&new.device)) {
            forget(tx, new).await?;
        }
    }
    Ok(())
}

/// Those of the devices that have more settings than are kept.
async fn crowded(tx: &mut Tx<'_>, assignments: &[&New]) -> Result<Vec<Uuid>, Error> {
    const KEPT: i64 = 64;
    let head = "SELECT device FROM settings WHERE device IN";
    let tail = format!("GROUP BY device HAVING COUNT(*) > {KEPT}");
    let mut query = sqlx::query(many::statement(head, [1, assignments.len()], &tail));
    for new in assignments {
        query = query.bind(new.device.to_string());
    }
    let rows = query.fetch_all(tx.on()).await?;
    rows.iter().map(|row| uuid(row, "device")).collect()
}

/// Removes settings that the newest assignment does not name.
async fn forget(tx: &mut Tx<'_>, new: &New) -> Result<(), Error> {
    let now: Vec<String> = new
        .settings
        .iter()
        .map(|filled| filled.digest.to_string())
        .collect();
    let device = new.device.to_string();
    let rows = sqlx::query("SELECT digest FROM settings WHERE device = $1")
        .bind(device.as_str())
        .fetch_all(tx.on())
        .await?;
    for row in rows {
        let digest: String = row.try_get("digest")?;
        if !now.contains(&digest) {
            let query = sqlx::query("DELETE FROM settings WHERE device = $1 AND digest = $2");
            let query = query.bind(device.as_str()).bind(digest);
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
    row.map(|row| Ok(row.try_get("body")?)).transpose()
}
