//! One server on one database.
//!
//! A server keeps credentials, directors and connections in memory and is not told what another one
//! changed, so two on one database would hand out counters of each other's. Each holds a lock in the
//! database for as long as its connection lives; whoever finds it held does not start, and whoever
//! loses it to another stops. SQLite's file is one machine's, and its writer is one process's.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use tokio_util::sync::CancellationToken;

use super::Error;

/// What the lock is called in PostgreSQL: "lightship" in bytes, as far as they fit.
const LOCK: i64 = i64::from_be_bytes(*b"lightshi");
/// How long a server that was just killed may seem to hold the lock.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two tries.
const AGAIN: Duration = Duration::from_millis(100);
/// How often it is looked whether the lock is still held.
const LOOK: Duration = Duration::from_secs(5);

/// The lock, held.
pub(crate) struct Alone {
    connection: PgConnection,
    url: String,
}

impl Alone {
    /// Takes the lock; nothing when another server holds it.
    pub(crate) async fn take(url: &str) -> Result<Option<Self>, Error> {
        let mut connection = PgConnection::connect(url).await?;
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let row = sqlx::query("SELECT pg_try_advisory_lock($1) AS held").bind(LOCK);
            if row.fetch_one(&mut connection).await?.try_get("held")? {
                let url = url.to_owned();
                return Ok(Some(Self { connection, url }));
            }
            if tokio::time::Instant::now() > end {
                return Ok(None);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Holds the lock until the server stops, and stops the server when another has taken it.
    pub(crate) async fn hold(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.connection.ping().await.is_ok() {
                continue;
            }
            match Self::take(&self.url).await {
                Ok(Some(again)) => self = again,
                Ok(None) => {
                    tracing::error!("another server works on this database: this one stops");
                    stop.cancel();
                }
                Err(error) => tracing::warn!(%error, "the database cannot be reached"),
            }
        }
        // The lock goes with the connection; the next server need not wait for it.
        let _ = self.connection.close().await;
    }
}
