//! Table `kept_keys`, on PostgreSQL alone: the sealed keys that all servers on the database share.
//!
//! They are read by [`super::lead`], before there is a pool.

use super::{Error, Tx};

/// Keeps a key, in place of the one of that name.
pub(crate) async fn put(tx: &mut Tx<'_>, name: &str, sealed: &str) -> Result<(), Error> {
    let query = "INSERT INTO kept_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed";
    let query = sqlx::query(query).bind(name).bind(sealed);
    query.execute(tx.on()).await.map(drop)
}

/// Forgets a key.
pub(crate) async fn delete(tx: &mut Tx<'_>, name: &str) -> Result<(), Error> {
    let query = sqlx::query("DELETE FROM kept_keys WHERE name = $1").bind(name);
    query.execute(tx.on()).await.map(drop)
}
