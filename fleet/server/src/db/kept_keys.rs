//! Table `kept_keys`, on PostgreSQL alone: the sealed keys that all servers on the database share.
//!
//! They are read by [`super::lead`], before there is a pool.

use sqlx::Row;

use super::{Error, Tx};

/// Keeps a key, in place of the one of that name.
pub(crate) async fn put(tx: &mut Tx<'_>, name: &str, sealed: &str) -> Result<(), Error> {
    let query = "INSERT INTO kept_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed";
    let query = sqlx::query(query).bind(name).bind(sealed);
    query.execute(tx.on()).await?;
    Ok(())
}

/// Forgets all keys but these.
pub(crate) async fn delete_others(tx: &mut Tx<'_>, names: &[String]) -> Result<(), Error> {
    let rows = sqlx::query("SELECT name FROM kept_keys").fetch_all(tx.on());
    for row in rows.await? {
        let name: String = row.try_get("name")?;
        if !names.contains(&name) {
            let query = sqlx::query("DELETE FROM kept_keys WHERE name = $1").bind(name);
            query.execute(tx.on()).await?;
        }
    }
    Ok(())
}
