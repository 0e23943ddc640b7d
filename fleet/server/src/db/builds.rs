//! Tables `builds` and `build_lines`.

use lightship_api::{Build, BuildLine, BuildState, BuiltImage, Name, NewBuild};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, column, count, json, maybe_time, parsed, time, to_json};
use crate::clock;

/// Builds of one fleet that are kept; the oldest give way once they have ended.
const KEPT: i64 = 100;

fn word(state: BuildState) -> &'static str {
    match state {
        BuildState::Waiting => "waiting",
        BuildState::Building => "building",
        BuildState::Done => "done",
        BuildState::Failed => "failed",
        BuildState::Cancelled => "cancelled",
    }
}

fn state(row: &AnyRow) -> Result<BuildState, Error> {
    let text: String = row.try_get("state")?;
    Ok(match text.as_str() {
        "waiting" => BuildState::Waiting,
        "building" => BuildState::Building,
        "done" => BuildState::Done,
        "cancelled" => BuildState::Cancelled,
        _ => BuildState::Failed,
    })
}

fn build(row: &AnyRow) -> Result<Build, Error> {
    let request: NewBuild = json(row, "request")?;
    Ok(Build {
        number: count(row, "number")?,
        state: state(row)?,
        targets: request.targets,
        error: row.try_get("error")?,
        images: json(row, "images")?,
        created_by: parsed(row, "created_by")?,
        created_at: time(row, "created_at")?,
        started_at: maybe_time(row, "started_at")?,
        ended_at: maybe_time(row, "ended_at")?,
    })
}

/// The newest builds of a fleet, newest first.
pub(crate) async fn list(db: &Db, fleet: &Name) -> Result<Vec<Build>, Error> {
    let query = sqlx::query("SELECT * FROM builds WHERE fleet = $1 ORDER BY number DESC LIMIT $2");
    let rows = query
        .bind(fleet.as_str())
        .bind(KEPT)
        .fetch_all(db.read())
        .await?;
    rows.iter().map(build).collect()
}

/// One build of a fleet.
pub(crate) async fn find(db: &Db, fleet: &Name, number: u64) -> Result<Option<Build>, Error> {
    let query = sqlx::query("SELECT * FROM builds WHERE fleet = $1 AND number = $2");
    let row = query
        .bind(fleet.as_str())
        .bind(column(number))
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(build).transpose()
}

/// Adds a build that waits, and lets the oldest go; returns its number.
pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    fleet: &Name,
    server: &str,
    request: &NewBuild,
    by: &Name,
) -> Result<u64, Error> {
    let query =
        sqlx::query("SELECT COALESCE(MAX(number), 0) + 1 AS next FROM builds WHERE fleet = $1");
    let row = query.bind(fleet.as_str()).fetch_one(tx.on()).await?;
    let number: u64 = count(&row, "next")?;
    let query = "INSERT INTO builds (fleet, number, server, state, request, images, created_by, created_at) VALUES ($1, $2, $3, 'waiting', $4, '[]', $5, $6)";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(column(number))
        .bind(server)
        .bind(to_json(request));
    query
        .bind(by.as_str())
        .bind(clock::now_ms())
        .execute(tx.on())
        .await?;
    let query = sqlx::query(
        "DELETE FROM builds WHERE fleet = $1 AND number <= $2 AND ended_at IS NOT NULL",
    );
    query
        .bind(fleet.as_str())
        .bind(column(number) - KEPT)
        .execute(tx.on())
        .await?;
    Ok(number)
}

/// It is being built from now on.
pub(crate) async fn begin(tx: &mut Tx<'_>, fleet: &Name, number: u64) -> Result<(), Error> {
    let query = "UPDATE builds SET state = 'building', started_at = $1 WHERE fleet = $2 AND number = $3 AND ended_at IS NULL";
    let query = sqlx::query(query)
        .bind(clock::now_ms())
        .bind(fleet.as_str());
    query.bind(column(number)).execute(tx.on()).await?;
    Ok(())
}

/// How a build ended.
pub(crate) struct End<'a> {
    pub(crate) state: BuildState,
    pub(crate) error: Option<&'a str>,
    pub(crate) images: &'a [BuiltImage],
}

/// Nothing comes after this; false when it had ended before.
pub(crate) async fn end(
    tx: &mut Tx<'_>,
    fleet: &Name,
    number: u64,
    end: &End<'_>,
) -> Result<bool, Error> {
    let query = "UPDATE builds SET state = $1, error = $2, images = $3, ended_at = $4 WHERE fleet = $5 AND number = $6 AND ended_at IS NULL";
    let query = sqlx::query(query)
        .bind(word(end.state))
        .bind(end.error)
        .bind(to_json(&end.images))
        .bind(clock::now_ms());
    let done = query
        .bind(fleet.as_str())
        .bind(column(number))
        .execute(tx.on())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Builds that were going on when the server stopped that led before this one.
pub(crate) async fn left_behind(db: &Db) -> Result<Vec<(Name, u64)>, Error> {
    let query = sqlx::query("SELECT fleet, number FROM builds WHERE ended_at IS NULL");
    let rows = query.fetch_all(db.read()).await?;
    let found = |row: &AnyRow| Ok((parsed(row, "fleet")?, count(row, "number")?));
    rows.iter().map(found).collect()
}

/// Adds lines to the log of a build.
pub(crate) async fn insert_lines(
    tx: &mut Tx<'_>,
    fleet: &Name,
    number: u64,
    lines: &[BuildLine],
) -> Result<(), Error> {
    for line in lines {
        let query = "INSERT INTO build_lines (fleet, build, number, device_type, service, line) VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(query)
            .bind(fleet.as_str())
            .bind(column(number))
            .bind(column(line.number));
        query
            .bind(line.device_type.as_str())
            .bind(line.service.as_str())
            .bind(line.line.as_str())
            .execute(tx.on())
            .await?;
    }
    Ok(())
}

/// Lines of a build after line `after`, in order.
pub(crate) async fn lines(
    db: &Db,
    fleet: &Name,
    number: u64,
    after: u64,
    limit: i64,
) -> Result<Vec<BuildLine>, Error> {
    let query = "SELECT * FROM build_lines WHERE fleet = $1 AND build = $2 AND number > $3 ORDER BY number LIMIT $4";
    let query = sqlx::query(query)
        .bind(fleet.as_str())
        .bind(column(number))
        .bind(column(after));
    let rows = query.bind(limit).fetch_all(db.read()).await?;
    let line = |row: &AnyRow| {
        Ok(BuildLine {
            number: count(row, "number")?,
            device_type: row.try_get("device_type")?,
            service: row.try_get("service")?,
            line: row.try_get("line")?,
        })
    };
    rows.iter().map(line).collect()
}
