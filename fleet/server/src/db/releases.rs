//! Tables `releases`, `release_documents` and `release_blobs`.

use std::collections::BTreeMap;

use lightship_api::{Name, Release, ReleaseDocument, ReleaseState, Timestamp};
use lightship_core::trust::Envelope;
use lightship_director as director;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, column, count, maybe_json, parsed, time, to_json};
use crate::release;

/// A release as it is stored.
pub(crate) struct Stored {
    pub(crate) number: u64,
    pub(crate) version: String,
    pub(crate) state: ReleaseState,
    pub(crate) reason: Option<String>,
    pub(crate) plan: Option<director::Plan>,
    pub(crate) progress: Option<director::Progress>,
    pub(crate) created_by: Name,
    pub(crate) created_at: Timestamp,
    /// The signed documents, by device type.
    pub(crate) documents: BTreeMap<String, Vec<u8>>,
}

/// A state as a column holds it.
pub(crate) fn word(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::Draft => "draft",
        ReleaseState::Final => "final",
        ReleaseState::Invalid => "invalid",
    }
}

fn stored(row: &AnyRow) -> Result<Stored, Error> {
    let state: String = row.try_get("state")?;
    let all = [
        ReleaseState::Draft,
        ReleaseState::Final,
        ReleaseState::Invalid,
    ];
    let known = all.into_iter().find(|known| word(*known) == state);
    Ok(Stored {
        number: count(row, "number")?,
        version: row.try_get("version")?,
        state: known.ok_or(Error::Gone)?,
        reason: row.try_get("reason")?,
        plan: maybe_json(row, "plan")?,
        progress: maybe_json(row, "progress")?,
        created_by: parsed(row, "created_by")?,
        created_at: time(row, "created_at")?,
        documents: BTreeMap::new(),
    })
}

impl Stored {
    /// The release as people see it.
    pub(crate) fn shown(&self) -> Release {
        let documents = self.documents.values().filter_map(|document| {
            let envelope = Envelope::open(document).ok()?;
            let (head, components) = release::read(envelope.payload).ok()?;
            Some(ReleaseDocument {
                digest: lightship_core::id::Digest::of(envelope.payload).to_string(),
                device_type: head.device_type.as_str().parse().ok()?,
                security_version: head.security_version,
                floor: head.floor,
                components: components
                    .iter()
                    .map(|component| component.name.to_string())
                    .collect(),
            })
        });
        Release {
            number: self.number,
            version: self.version.clone(),
            state: self.state,
            reason: self.reason.clone(),
            documents: documents.collect(),
            created_by: self.created_by.clone(),
            created_at: self.created_at,
        }
    }
}

/// All releases of a fleet, oldest first.
pub(crate) async fn list(db: &Db, fleet: &Name) -> Result<Vec<Stored>, Error> {
    let query =
        sqlx::query("SELECT * FROM releases WHERE fleet = $1 ORDER BY number").bind(fleet.as_str());
    let mut all: Vec<Stored> = query
        .fetch_all(db.read())
        .await?
        .iter()
        .map(stored)
        .collect::<Result<_, _>>()?;
    let query =
        sqlx::query("SELECT number, device_type, document FROM release_documents WHERE fleet = $1");
    for row in query.bind(fleet.as_str()).fetch_all(db.read()).await? {
        let number: u64 = count(&row, "number")?;
        if let Ok(position) = all.binary_search_by_key(&number, |release| release.number) {
            all[position]
                .documents
                .insert(row.try_get("device_type")?, row.try_get("document")?);
        }
    }
    Ok(all)
}

/// One release of a fleet.
pub(crate) async fn find(db: &Db, fleet: &Name, number: u64) -> Result<Option<Stored>, Error> {
    let query = sqlx::query("SELECT * FROM releases WHERE fleet = $1 AND number = $2");
    let row = query
        .bind(fleet.as_str())
        .bind(column(number))
        .fetch_optional(db.read())
        .await?;
    let Some(mut release) = row.as_ref().map(stored).transpose()? else {
        return Ok(None);
    };
    let query = sqlx::query(
        "SELECT device_type, document FROM release_documents WHERE fleet = $1 AND number = $2",
    );
    for row in query
        .bind(fleet.as_str())
        .bind(column(number))
        .fetch_all(db.read())
        .await?
    {
        release
            .documents
            .insert(row.try_get("device_type")?, row.try_get("document")?);
    }
    Ok(Some(release))
}

/// The number of the release that a document of this digest belongs to.
pub(crate) async fn with_document(
    tx: &mut Tx<'_>,
    fleet: &Name,
    digest: &str,
) -> Result<Option<u64>, Error> {
    let query =
        sqlx::query("SELECT number FROM release_documents WHERE fleet = $1 AND digest = $2");
    let row = query
        .bind(fleet.as_str())
        .bind(digest)
        .fetch_optional(tx.on())
        .await?;
    row.map(|row| count(&row, "number")).transpose()
}

/// The number of the release that a document of this digest belongs to, outside of any transaction.
pub(crate) async fn number_of(db: &Db, fleet: &Name, digest: &str) -> Result<Option<u64>, Error> {
    let query =
        sqlx::query("SELECT number FROM release_documents WHERE fleet = $1 AND digest = $2");
    let row = query
        .bind(fleet.as_str())
        .bind(digest)
        .fetch_optional(db.read())
        .await?;
    row.map(|row| count(&row, "number")).transpose()
}

/// The signed document of this digest.
pub(crate) async fn document(
    db: &Db,
    fleet: &Name,
    digest: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let query =
        sqlx::query("SELECT document FROM release_documents WHERE fleet = $1 AND digest = $2");
    let query = query.bind(fleet.as_str()).bind(digest);
    let row = query.fetch_optional(db.read()).await?;
    row.map(|row| Ok(row.try_get("document")?)).transpose()
}

/// The number that the next release of a fleet gets.
pub(crate) async fn next_number(tx: &mut Tx<'_>, fleet: &Name) -> Result<u64, Error> {
    let query =
        sqlx::query("SELECT COALESCE(MAX(number), 0) + 1 AS next FROM releases WHERE fleet = $1");
    let row = query.bind(fleet.as_str()).fetch_one(tx.on()).await?;
    count(&row, "next")
}

/// Adds a release without its documents.
pub(crate) async fn insert(tx: &mut Tx<'_>, fleet: &Name, release: &Stored) -> Result<(), Error> {
    let query = "INSERT INTO releases (fleet, number, version, state, plan, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(column(release.number));
    let query = query
        .bind(release.version.as_str())
        .bind(word(release.state));
    let query = query
        .bind(release.plan.as_ref().map(to_json))
        .bind(release.created_by.as_str());
    query
        .bind(release.created_at.as_millis())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Adds a signed document.
pub(crate) async fn insert_document(
    tx: &mut Tx<'_>,
    fleet: &Name,
    number: u64,
    device_type: &str,
    digest: &str,
    document: &[u8],
) -> Result<(), Error> {
    let query = "INSERT INTO release_documents (fleet, number, device_type, digest, document) VALUES ($1, $2, $3, $4, $5)";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(column(number))
        .bind(device_type);
    query
        .bind(digest)
        .bind(document.to_vec())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Keeps a blob or manifest for as long as the release is there.
pub(crate) async fn keep_blob(
    tx: &mut Tx<'_>,
    fleet: &Name,
    number: u64,
    digest: &str,
) -> Result<(), Error> {
    let query = "INSERT INTO release_blobs (fleet, number, digest) VALUES ($1, $2, $3) ON CONFLICT (fleet, digest, number) DO NOTHING";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(column(number))
        .bind(digest);
    query.execute(tx.on()).await?;
    Ok(())
}

/// Sets the state of a release.
pub(crate) async fn set_state(
    tx: &mut Tx<'_>,
    fleet: &Name,
    number: u64,
    state: ReleaseState,
    reason: Option<&str>,
) -> Result<bool, Error> {
    let query =
        sqlx::query("UPDATE releases SET state = $1, reason = $2 WHERE fleet = $3 AND number = $4");
    let query = query
        .bind(word(state))
        .bind(reason)
        .bind(fleet.as_str())
        .bind(column(number));
    Ok(query.execute(tx.on()).await?.rows_affected() == 1)
}

/// Sets in which order devices are given a release.
pub(crate) async fn set_plan(
    tx: &mut Tx<'_>,
    fleet: &Name,
    number: u64,
    plan: &director::Plan,
) -> Result<(), Error> {
    let query = sqlx::query("UPDATE releases SET plan = $1 WHERE fleet = $2 AND number = $3");
    query
        .bind(to_json(plan))
        .bind(fleet.as_str())
        .bind(column(number))
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Keeps how far the roll-out of a release is.
pub(crate) async fn set_progress(
    tx: &mut Tx<'_>,
    fleet: &Name,
    number: u64,
    progress: &director::Progress,
) -> Result<(), Error> {
    let query = sqlx::query("UPDATE releases SET progress = $1 WHERE fleet = $2 AND number = $3");
    query
        .bind(to_json(progress))
        .bind(fleet.as_str())
        .bind(column(number))
        .execute(tx.on())
        .await?;
    Ok(())
}
