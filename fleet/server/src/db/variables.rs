//! Table `variables`: values for a fleet (`device` is empty) or for one device.

use lightship_api::{Name, Variable, VariableKind};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx};

/// Which variables are meant: those of a fleet, or of one of its devices.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) fleet: &'a Name,
    /// The device's uuid; empty for the fleet's own.
    pub(crate) device: &'a str,
}

/// A kind as a column holds it.
pub(crate) fn word(kind: VariableKind) -> &'static str {
    match kind {
        VariableKind::Environment => "environment",
        VariableKind::Configuration => "configuration",
    }
}

fn variable(row: &AnyRow) -> Result<Variable, Error> {
    let (kind, service): (String, String) = (row.try_get("kind")?, row.try_get("service")?);
    let kind = if kind == word(VariableKind::Configuration) {
        VariableKind::Configuration
    } else {
        VariableKind::Environment
    };
    let service = Some(service).filter(|service| !service.is_empty());
    Ok(Variable {
        name: row.try_get("name")?,
        kind,
        service,
        value: row.try_get("value")?,
    })
}

/// The variables of a fleet or of one device, by name.
pub(crate) async fn list(db: &Db, of: Of<'_>) -> Result<Vec<Variable>, Error> {
    let query = sqlx::query(
        "SELECT * FROM variables WHERE fleet = $1 AND device = $2 ORDER BY name, kind, service",
    );
    let query = query.bind(of.fleet.as_str()).bind(of.device);
    query
        .fetch_all(db.read())
        .await?
        .iter()
        .map(variable)
        .collect()
}

/// The variables of all devices of a fleet, each with the device's uuid.
pub(crate) async fn of_devices(db: &Db, fleet: &Name) -> Result<Vec<(String, Variable)>, Error> {
    let query = sqlx::query("SELECT * FROM variables WHERE fleet = $1 AND device <> ''")
        .bind(fleet.as_str());
    let rows = query.fetch_all(db.read()).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("device")?, variable(row)?)))
        .collect()
}

/// How many there are.
pub(crate) async fn count(tx: &mut Tx<'_>, of: Of<'_>) -> Result<i64, Error> {
    let query =
        sqlx::query("SELECT COUNT(*) AS variables FROM variables WHERE fleet = $1 AND device = $2");
    let row = query
        .bind(of.fleet.as_str())
        .bind(of.device)
        .fetch_one(tx.on())
        .await?;
    Ok(row.try_get("variables")?)
}

/// Sets a variable, whatever it was before.
pub(crate) async fn put(tx: &mut Tx<'_>, of: Of<'_>, variable: &Variable) -> Result<(), Error> {
    let query = "INSERT INTO variables (fleet, device, kind, service, name, value) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (fleet, device, kind, service, name) DO UPDATE SET value = excluded.value";
    let query = sqlx::query(query)
        .bind(of.fleet.as_str())
        .bind(of.device)
        .bind(word(variable.kind));
    let query = query
        .bind(variable.service.as_deref().unwrap_or_default())
        .bind(variable.name.as_str());
    query.bind(variable.value.as_str()).execute(tx.on()).await?;
    Ok(())
}

/// Removes a variable.
pub(crate) async fn delete(
    tx: &mut Tx<'_>,
    of: Of<'_>,
    kind: VariableKind,
    service: &str,
    name: &str,
) -> Result<bool, Error> {
    let query = "DELETE FROM variables WHERE fleet = $1 AND device = $2 AND kind = $3 AND service = $4 AND name = $5";
    let query = sqlx::query(query)
        .bind(of.fleet.as_str())
        .bind(of.device)
        .bind(word(kind))
        .bind(service)
        .bind(name);
    Ok(query.execute(tx.on()).await?.rows_affected() == 1)
}

/// Removes all variables of a device.
pub(crate) async fn delete_of_device(tx: &mut Tx<'_>, of: Of<'_>) -> Result<(), Error> {
    let query = sqlx::query("DELETE FROM variables WHERE fleet = $1 AND device = $2");
    query
        .bind(of.fleet.as_str())
        .bind(of.device)
        .execute(tx.on())
        .await?;
    Ok(())
}
