//! Table `devices`.

use lightship_api::{Device, Metrics, Name};
use lightship_core::id::Uuid;
use lightship_core::wire::Report;
use lightship_director as director;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{
    Db, Error, Tx, column, count, json, many, maybe_count, maybe_json, maybe_time, parsed, time,
    to_json, undecodable,
};
use crate::roster::{Credentials, Head};

/// Reads a uuid.
pub(crate) fn uuid(row: &AnyRow, column: &str) -> Result<Uuid, Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| undecodable(column, error))
}

fn report(row: &AnyRow) -> Result<Option<Report>, Error> {
    let text: Option<String> = row.try_get("report")?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| undecodable("report", error)))
        .transpose()
}

/// What a report says of the device's state, in one word.
pub(crate) fn state(report: &Report) -> &'static str {
    use lightship_core::wire::Phase;
    match (&report.trial, &report.rejected, &report.committed) {
        (Some(trial), _, _) => match trial.phase {
            Phase::Preparing => "preparing",
            Phase::Trying => "trying",
            Phase::Held => "held",
        },
        (None, Some(_), _) => "rejected",
        (None, None, Some(_)) => "committed",
        (None, None, None) => "empty",
    }
}

fn device(row: &AnyRow) -> Result<Device, Error> {
    let report = report(row)?;
    Ok(Device {
        uuid: row.try_get("uuid")?,
        fleet: parsed(row, "fleet")?,
        name: row.try_get("name")?,
        device_type: parsed(row, "device_type")?,
        tags: json(row, "tags")?,
        pinned: maybe_count(row, "pinned")?,
        target: maybe_count(row, "target")?,
        running: report
            .as_ref()
            .and_then(|report| report.committed)
            .map(|digest| digest.to_string()),
        // Which number that is, is looked up for many devices at once.
        running_release: None,
        running_version: report
            .as_ref()
            .and_then(|report| report.version.as_ref())
            .map(ToString::to_string),
        state: report.as_ref().map(|report| state(report).to_owned()),
        counter: count(row, "counter")?,
        online: false,
        transport: None,
        last_seen_at: maybe_time(row, "last_seen_at")?,
        last_handshake_at: maybe_time(row, "last_handshake_at")?,
        api_key_changed_at: maybe_time(row, "api_key_changed_at")?,
        tunnel_key_changed_at: maybe_time(row, "tunnel_key_changed_at")?,
        registered_at: maybe_time(row, "registered_at")?,
        created_at: time(row, "created_at")?,
        locks_overridden: row.try_get::<i64, _>("override_locks")? != 0,
        windows: maybe_json(row, "windows")?,
        zone: row.try_get("zone")?,
        metrics: json(row, "metrics")?,
        metrics_at: maybe_time(row, "metrics_at")?,
    })
}

/// The devices of a fleet by uuid, after `after`.
pub(crate) async fn list(
    db: &Db,
    fleet: &Name,
    after: &str,
    limit: i64,
) -> Result<Vec<Device>, Error> {
    let query =
        sqlx::query("SELECT * FROM devices WHERE fleet = $1 AND uuid > $2 ORDER BY uuid LIMIT $3");
    let query = query.bind(fleet.as_str()).bind(after).bind(limit);
    query
        .fetch_all(db.read())
        .await?
        .iter()
        .map(device)
        .collect()
}

/// One device of a fleet.
pub(crate) async fn find(db: &Db, fleet: &Name, uuid: &str) -> Result<Option<Device>, Error> {
    let query = sqlx::query("SELECT * FROM devices WHERE fleet = $1 AND uuid = $2");
    let row = query
        .bind(fleet.as_str())
        .bind(uuid)
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(device).transpose()
}

/// The device with this uuid, whatever its fleet, as it stands within the transaction.
pub(crate) async fn find_in(
    tx: &mut Tx<'_>,
    uuid: &str,
) -> Result<Option<(Device, Option<String>)>, Error> {
    let query = sqlx::query("SELECT * FROM devices WHERE uuid = $1").bind(uuid);
    let row = query.fetch_optional(tx.on()).await?;
    row.map(|row| Ok((device(&row)?, row.try_get("api_key")?)))
        .transpose()
}

/// How many devices a fleet has.
pub(crate) async fn count_of(tx: &mut Tx<'_>, fleet: &Name) -> Result<i64, Error> {
    let query = sqlx::query("SELECT COUNT(*) AS devices FROM devices WHERE fleet = $1");
    let row = query.bind(fleet.as_str()).fetch_one(tx.on()).await?;
    Ok(row.try_get("devices")?)
}

/// Enters a device that is not registered.
pub(crate) async fn insert(tx: &mut Tx<'_>, device: &Device) -> Result<(), Error> {
    let query = "INSERT INTO devices (uuid, fleet, name, device_type, tags, attempt, override_locks, record, counter, last_command, root_version, metrics, created_at) VALUES ($1, $2, $3, $4, $5, 0, 0, $6, 0, 0, 0, $7, $8)";
    let query = sqlx::query(query)
        .bind(device.uuid.as_str())
        .bind(device.fleet.as_str());
    let query = query
        .bind(device.name.as_str())
        .bind(device.device_type.as_str())
        .bind(to_json(&device.tags));
    let query = query.bind(to_json(&director::Record::default()));
    query
        .bind(to_json(&device.metrics))
        .bind(device.created_at.as_millis())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// What a registration sets.
pub(crate) struct Registration<'a> {
    pub(crate) uuid: &'a str,
    pub(crate) api_key: &'a str,
    pub(crate) wireguard: &'a str,
    pub(crate) device_type: &'a str,
    pub(crate) at_ms: i64,
}

/// Gives an entered device its keys; false if it has some already.
pub(crate) async fn register(tx: &mut Tx<'_>, new: &Registration<'_>) -> Result<bool, Error> {
    let query = "UPDATE devices SET api_key = $1, wireguard = $2, device_type = $3, registered_at = $4 WHERE uuid = $5 AND api_key IS NULL";
    let query = sqlx::query(query)
        .bind(new.api_key)
        .bind(new.wireguard)
        .bind(new.device_type);
    Ok(query
        .bind(new.at_ms)
        .bind(new.uuid)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Whether another device has this tunnel key, or wants it.
pub(crate) async fn tunnel_key_taken(
    tx: &mut Tx<'_>,
    wireguard: &str,
    uuid: &str,
) -> Result<bool, Error> {
    let query = "SELECT COUNT(*) AS others FROM devices WHERE (wireguard = $1 OR next_wireguard = $1) AND uuid <> $2";
    let row = sqlx::query(query)
        .bind(wireguard)
        .bind(uuid)
        .fetch_one(tx.on())
        .await?;
    Ok(row.try_get::<i64, _>("others")? > 0)
}

/// Keeps a proposed API key beside the one in use.
pub(crate) async fn propose_api_key(tx: &mut Tx<'_>, uuid: &str, hash: &str) -> Result<(), Error> {
    let query = sqlx::query("UPDATE devices SET next_api_key = $1 WHERE uuid = $2")
        .bind(hash)
        .bind(uuid);
    query.execute(tx.on()).await?;
    Ok(())
}

/// Keeps a proposed tunnel key beside the one in use.
pub(crate) async fn propose_tunnel_key(
    tx: &mut Tx<'_>,
    uuid: &str,
    key: &str,
) -> Result<(), Error> {
    let query = sqlx::query("UPDATE devices SET next_wireguard = $1 WHERE uuid = $2")
        .bind(key)
        .bind(uuid);
    query.execute(tx.on()).await?;
    Ok(())
}

/// The proposed API key was used.
pub(crate) async fn retire_api_key(
    tx: &mut Tx<'_>,
    uuid: &str,
    now_ms: i64,
) -> Result<bool, Error> {
    let query = "UPDATE devices SET api_key = next_api_key, next_api_key = NULL, api_key_changed_at = $2 WHERE uuid = $1 AND next_api_key IS NOT NULL";
    Ok(sqlx::query(query)
        .bind(uuid)
        .bind(now_ms)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Sets what people may change of a device.
pub(crate) async fn update(tx: &mut Tx<'_>, device: &Device) -> Result<(), Error> {
    let query = sqlx::query(
        "UPDATE devices SET name = $1, tags = $2, pinned = $3, fleet = $4, windows = $5, zone = $6 WHERE uuid = $7",
    );
    let query = query
        .bind(device.name.as_str())
        .bind(to_json(&device.tags))
        .bind(device.pinned.map(column));
    let query = query
        .bind(device.fleet.as_str())
        .bind(device.windows.as_ref().map(to_json));
    query
        .bind(device.zone.as_deref())
        .bind(device.uuid.as_str())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// A person asks for a rejected release to be tried again.
pub(crate) async fn raise_attempt(tx: &mut Tx<'_>, uuid: &str) -> Result<(), Error> {
    let query =
        sqlx::query("UPDATE devices SET attempt = attempt + 1 WHERE uuid = $1 AND attempt < $2");
    query
        .bind(uuid)
        .bind(i64::from(u32::MAX))
        .execute(tx.on())
        .await?;
    Ok(())
}

/// A person decides whether update locks count.
pub(crate) async fn override_locks(
    tx: &mut Tx<'_>,
    uuid: &str,
    overridden: bool,
) -> Result<(), Error> {
    let query = sqlx::query("UPDATE devices SET override_locks = $1 WHERE uuid = $2");
    query
        .bind(i64::from(overridden))
        .bind(uuid)
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Removes a device with everything that hangs on it.
pub(crate) async fn delete(tx: &mut Tx<'_>, fleet: &Name, uuid: &str) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM devices WHERE fleet = $1 AND uuid = $2");
    Ok(query
        .bind(fleet.as_str())
        .bind(uuid)
        .execute(tx.on())
        .await?
        .rows_affected()
        == 1)
}

/// Keeps what devices reported, one report of each.
pub(crate) async fn set_reports(
    tx: &mut Tx<'_>,
    reports: &[(Uuid, &Report)],
    now_ms: i64,
) -> Result<(), Error> {
    const TAIL: &str = ") UPDATE devices SET report = told.report, root_version = CAST(told.root AS BIGINT), last_seen_at = CAST(told.at AS BIGINT) FROM told WHERE devices.uuid = told.uuid";
    for rows in reports.chunks(many::ROWS) {
        let head = "WITH told (uuid, report, root, at) AS (VALUES";
        let mut query = sqlx::query(many::statement(head, [rows.len(), 4], TAIL));
        for (uuid, report) in rows {
            let root = i64::from(report.root);
            query = query
                .bind(uuid.to_string())
                .bind(to_json(*report))
                .bind(root);
            query = query.bind(now_ms);
        }
        query.execute(tx.on()).await?;
    }
    Ok(())
}

/// Keeps what a device says of itself; what it does not say stays.
pub(crate) async fn update_metrics(
    tx: &mut Tx<'_>,
    uuid: &str,
    newer: Metrics,
    now_ms: i64,
) -> Result<(), Error> {
    let Some((known, _)) = find_in(tx, uuid).await? else {
        return Ok(());
    };
    let query = sqlx::query("UPDATE devices SET metrics = $1, metrics_at = $2 WHERE uuid = $3");
    let query = query.bind(to_json(&known.metrics.updated(newer)));
    query.bind(now_ms).bind(uuid).execute(tx.on()).await?;
    Ok(())
}

/// Keeps when devices were last heard of.
pub(crate) async fn set_last_seen(tx: &mut Tx<'_>, uuid: &Uuid, at_ms: i64) -> Result<(), Error> {
    let query = sqlx::query(
        "UPDATE devices SET last_seen_at = $1 WHERE uuid = $2 AND COALESCE(last_seen_at, 0) < $1",
    );
    query
        .bind(at_ms)
        .bind(uuid.to_string())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Keeps what the director decided, one record of each device; its counter never falls.
pub(crate) async fn set_records(
    tx: &mut Tx<'_>,
    records: &[(Uuid, &director::Record)],
) -> Result<(), Error> {
    const TAIL: &str = ") UPDATE devices SET record = told.record, counter = CAST(told.counter AS BIGINT), target = CAST(told.target AS BIGINT) FROM told WHERE devices.uuid = told.uuid AND devices.counter <= CAST(told.counter AS BIGINT)";
    for rows in records.chunks(many::ROWS) {
        let head = "WITH told (uuid, record, counter, target) AS (VALUES";
        let mut query = sqlx::query(many::statement(head, [rows.len(), 4], TAIL));
        for (uuid, record) in rows {
            let assigned = record.assigned.as_ref();
            query = query.bind(uuid.to_string()).bind(to_json(*record));
            query = query.bind(assigned.map_or(0, |assigned| column(assigned.counter)));
            query = query.bind(assigned.map(|assigned| column(assigned.release)));
        }
        if query.execute(tx.on()).await?.rows_affected() != rows.len() as u64 {
            return Err(Error::Gone);
        }
    }
    Ok(())
}

/// The credentials of every registered device.
pub(crate) async fn credentials(db: &Db) -> Result<Vec<Credentials>, Error> {
    let query = "SELECT devices.*, COALESCE((SELECT MAX(version) FROM roots WHERE roots.fleet = devices.fleet), 0) AS newest_root FROM devices WHERE api_key IS NOT NULL";
    let rows = sqlx::query(query).fetch_all(db.read()).await?;
    let known = |row: &AnyRow| {
        let head = Head {
            counter: count(row, "counter")?,
            root: count(row, "newest_root")?,
            command: count(row, "last_command")?,
            // The tunnel hub, which knows, is started later.
            tunnel: 0,
        };
        Ok(Credentials {
            uuid: uuid(row, "uuid")?,
            fleet: parsed(row, "fleet")?,
            api_key: row.try_get("api_key")?,
            next_api_key: row.try_get("next_api_key")?,
            head,
        })
    };
    rows.iter().map(known).collect()
}

/// What the director knew of the devices of a fleet; its variables are kept elsewhere.
pub(crate) async fn saved(db: &Db, fleet: &Name) -> Result<Vec<director::SavedDevice>, Error> {
    let query =
        sqlx::query("SELECT * FROM devices WHERE fleet = $1 AND api_key IS NOT NULL ORDER BY uuid");
    query
        .bind(fleet.as_str())
        .fetch_all(db.read())
        .await?
        .iter()
        .map(saved_device)
        .collect()
}

/// What the director knew of one device.
pub(crate) async fn saved_one(db: &Db, uuid: &str) -> Result<Option<director::SavedDevice>, Error> {
    let query =
        sqlx::query("SELECT * FROM devices WHERE uuid = $1 AND api_key IS NOT NULL").bind(uuid);
    query
        .fetch_optional(db.read())
        .await?
        .as_ref()
        .map(saved_device)
        .transpose()
}

fn saved_device(row: &AnyRow) -> Result<director::SavedDevice, Error> {
    let device_type: String = row.try_get("device_type")?;
    let device_type = device_type
        .parse()
        .map_err(|error| undecodable("device_type", error))?;
    let mut device = director::Device::new(device_type);
    device.tags = json(row, "tags")?;
    device.pinned = maybe_count(row, "pinned")?;
    device.attempt = count(row, "attempt")?;
    device.override_locks = row.try_get::<i64, _>("override_locks")? != 0;
    device.windows = maybe_json(row, "windows")?;
    let zone: Option<String> = row.try_get("zone")?;
    let zone = zone.map(|zone| zone.parse());
    device.zone = zone
        .transpose()
        .map_err(|error| undecodable("zone", error))?;
    let report = report(row)?
        .as_ref()
        .map(director::Report::from)
        .unwrap_or_default();
    Ok(director::SavedDevice {
        uuid: uuid(row, "uuid")?,
        device,
        record: json(row, "record")?,
        report,
    })
}
