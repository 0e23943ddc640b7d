//! Table `fleets`.

use lightship_api::{Fleet, Name, Policy};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, column, json, maybe_count, parsed, time, to_json};

fn fleet(row: &AnyRow) -> Result<Fleet, Error> {
    let policy = maybe_count(row, "policy_release")?;
    Ok(Fleet {
        name: parsed(row, "name")?,
        product: parsed(row, "product")?,
        description: row.try_get("description")?,
        policy: policy.map_or(Policy::Latest, |release| Policy::Pinned { release }),
        windows: json(row, "windows")?,
        zone: row.try_get("zone")?,
        created_at: time(row, "created_at")?,
    })
}

/// All fleets by name, after `after`.
pub(crate) async fn list(db: &Db, after: &str, limit: i64) -> Result<Vec<Fleet>, Error> {
    let query = sqlx::query("SELECT * FROM fleets WHERE name > $1 ORDER BY name LIMIT $2");
    query
        .bind(after)
        .bind(limit)
        .fetch_all(db.read())
        .await?
        .iter()
        .map(fleet)
        .collect()
}

/// The fleets that `user` is a member of, by name, after `after`.
pub(crate) async fn list_of(
    db: &Db,
    user: &Name,
    after: &str,
    limit: i64,
) -> Result<Vec<Fleet>, Error> {
    let query = "SELECT fleets.* FROM fleets JOIN members ON members.fleet = fleets.name WHERE members.user_name = $1 AND fleets.name > $2 ORDER BY fleets.name LIMIT $3";
    let query = sqlx::query(query)
        .bind(user.as_str())
        .bind(after)
        .bind(limit);
    query
        .fetch_all(db.read())
        .await?
        .iter()
        .map(fleet)
        .collect()
}

/// One fleet.
pub(crate) async fn find(db: &Db, name: &Name) -> Result<Option<Fleet>, Error> {
    let query = sqlx::query("SELECT * FROM fleets WHERE name = $1").bind(name.as_str());
    query
        .fetch_optional(db.read())
        .await?
        .as_ref()
        .map(fleet)
        .transpose()
}

/// One fleet, as it stands within the transaction.
pub(crate) async fn find_in(tx: &mut Tx<'_>, name: &Name) -> Result<Option<Fleet>, Error> {
    let query = sqlx::query("SELECT * FROM fleets WHERE name = $1").bind(name.as_str());
    query
        .fetch_optional(tx.on())
        .await?
        .as_ref()
        .map(fleet)
        .transpose()
}

/// Adds a fleet.
pub(crate) async fn insert(tx: &mut Tx<'_>, fleet: &Fleet) -> Result<(), Error> {
    let query =
        "INSERT INTO fleets (name, product, description, created_at) VALUES ($1, $2, $3, $4)";
    let query = sqlx::query(query)
        .bind(fleet.name.as_str())
        .bind(fleet.product.as_str());
    query
        .bind(fleet.description.as_str())
        .bind(fleet.created_at.as_millis())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Sets what of a fleet may change.
pub(crate) async fn update(tx: &mut Tx<'_>, fleet: &Fleet) -> Result<(), Error> {
    let release = match fleet.policy {
        Policy::Latest => None,
        Policy::Pinned { release } => Some(column(release)),
    };
    let query = sqlx::query(
        "UPDATE fleets SET description = $1, policy_release = $2, windows = $3, zone = $4 WHERE name = $5",
    );
    let query = query
        .bind(fleet.description.as_str())
        .bind(release)
        .bind(to_json(&fleet.windows));
    query
        .bind(fleet.zone.as_str())
        .bind(fleet.name.as_str())
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Removes a fleet with everything that hangs on it.
pub(crate) async fn delete(tx: &mut Tx<'_>, name: &Name) -> Result<bool, Error> {
    let query = sqlx::query("DELETE FROM fleets WHERE name = $1").bind(name.as_str());
    Ok(query.execute(tx.on()).await?.rows_affected() == 1)
}
