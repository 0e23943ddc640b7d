//! State: SQLite or PostgreSQL behind one code path.
//!
//! One module a noun, as in the routes. Every write goes through [`Tx`], which records who
//! changed what in the same transaction and tells listeners only after it is committed. SQLite
//! has one writer at a time anyway, so it gets one writing connection and no statement ever
//! waits for a lock; every commit is synced, because what is acknowledged must survive a cut.

pub(crate) mod assignments;
pub(crate) mod blobs;
pub(crate) mod builds;
pub(crate) mod changes;
pub(crate) mod commands;
pub(crate) mod devices;
pub(crate) mod fleets;
pub(crate) mod kept_keys;
pub(crate) mod lead;
pub(crate) mod log_lines;
pub(crate) mod manifests;
mod many;
pub(crate) mod members;
mod migrations;
pub(crate) mod places;
pub(crate) mod provisioning_keys;
pub(crate) mod releases;
pub(crate) mod roots;
pub(crate) mod rotations;
pub(crate) mod tokens;
mod tx;
pub(crate) mod users;
pub(crate) mod variables;

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{AnyConnection, AnyPool, Executor, Row};
use tokio::sync::watch;

pub(crate) use tx::{Entry, Tx};

/// Connections that read SQLite at the same time.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;
/// How long a request waits for a connection before it is answered with an error.
const ACQUIRE: Duration = Duration::from_secs(10);
/// A server that falls asleep within a transaction does not keep others waiting for longer.
const POSTGRES_SETTING: &str = "SET idle_in_transaction_session_timeout = '10s'";

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another server leads by now, so nothing was written.
    #[error("another server has taken over this database")]
    Superseded,
    /// What was to be changed has been removed, or a newer change has been made to it.
    #[error("it is not there any more, or is newer than what was to be written")]
    Gone,
    /// Something is stored that this version did not write.
    #[error("column {column}: {source}")]
    Undecodable {
        /// Where.
        column: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database says no, or cannot be reached.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Which database is behind the one code path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// Whoever wants to know what happens in which fleet.
pub(crate) type Listeners =
    tokio::sync::broadcast::Sender<(lightship_api::Name, lightship_api::Event)>;

/// The pools.
#[derive(Clone)]
pub(crate) struct Db {
    read: AnyPool,
    write: AnyPool,
    pub(crate) backend: Backend,
    events: Listeners,
    /// Counts changes of who may do what.
    access: Arc<watch::Sender<u64>>,
    /// What transactions pass before they are committed, where there can be another server.
    fence: Option<lead::Fence>,
}

/// Whether the database is a file of this machine, which one process writes.
pub(crate) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

impl Db {
    /// Connects and brings the schema up to date.
    pub(crate) async fn open(
        url: &str,
        events: Listeners,
        fence: Option<lead::Fence>,
    ) -> Result<Self, Error> {
        let db = Self::connect(url, events, fence).await?;
        migrations::run(&db).await?;
        Ok(db)
    }

    async fn connect(
        url: &str,
        events: Listeners,
        fence: Option<lead::Fence>,
    ) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let options: AnyConnectOptions = url.parse()?;
        Ok(if is_sqlite(url) {
            // The writer comes first: it makes the file and sets it to write-ahead logging.
            let write = sqlite_pool(options.clone(), 1).await?;
            let read = sqlite_pool(options, SQLITE_READERS).await?;
            Self {
                read,
                write,
                backend: Backend::Sqlite,
                events,
                access: Arc::default(),
                fence,
            }
        } else {
            let pool = AnyPoolOptions::new()
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(ACQUIRE);
            let pool = pool.after_connect(|connection, _| {
                Box::pin(async move { connection.execute(POSTGRES_SETTING).await.map(drop) })
            });
            let pool = pool.connect_with(options).await?;
            Self {
                read: pool.clone(),
                write: pool,
                backend: Backend::Postgres,
                events,
                access: Arc::default(),
                fence,
            }
        })
    }

    /// Where statements that change nothing run.
    pub(crate) fn read(&self) -> &AnyPool {
        &self.read
    }

    /// Starts a transaction that may write.
    pub(crate) async fn write(&self) -> Result<Tx<'_>, Error> {
        let begin = match self.backend {
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN",
        };
        Ok(Tx::new(
            self.write.begin_with(begin).await?,
            self.events.clone(),
            Arc::clone(&self.access),
            self.fence.as_ref(),
        ))
    }

    /// Fails when another server leads by now.
    pub(crate) async fn check_lead(&self) -> Result<(), Error> {
        match self.fence {
            Some(_) => self.write().await?.commit().await,
            None => Ok(()),
        }
    }

    /// Word of when it changed who may do what.
    pub(crate) fn access(&self) -> watch::Receiver<u64> {
        self.access.subscribe()
    }

    /// Whether the database answers.
    pub(crate) async fn is_alive(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.read).await.is_ok()
    }

    /// Waits for what is running and closes all connections.
    pub(crate) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

async fn sqlite_pool(options: AnyConnectOptions, connections: u32) -> Result<AnyPool, Error> {
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE);
    let pool = pool.after_connect(|connection, _| Box::pin(sqlite_settings(connection)));
    Ok(pool.connect_with(options).await?)
}

async fn sqlite_settings(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    const SETTINGS: [&str; 4] = [
        "PRAGMA busy_timeout = 10000",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
    ];
    for setting in SETTINGS {
        connection.execute(setting).await?;
    }
    Ok(())
}

/// Reads one column as what the API calls it; what does not parse was not written by us.
pub(crate) fn parsed<T>(row: &AnyRow, column: &str) -> Result<T, Error>
where
    T: TryFrom<String>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.try_get(column)?;
    T::try_from(text).map_err(|error| undecodable(column, error))
}

/// Reads a column that holds JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| undecodable(column, error))
}

/// Reads a column that holds JSON or nothing.
pub(crate) fn maybe_json<T: serde::de::DeserializeOwned>(
    row: &AnyRow,
    column: &str,
) -> Result<Option<T>, Error> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| undecodable(column, error)))
        .transpose()
}

/// Writes what a column of JSON holds.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys")
}

/// Reads a time.
pub(crate) fn time(row: &AnyRow, column: &str) -> Result<lightship_api::Timestamp, Error> {
    let millis: i64 = row.try_get(column)?;
    Ok(lightship_api::Timestamp::from_millis(millis))
}

/// Reads a time that may be absent.
pub(crate) fn maybe_time(
    row: &AnyRow,
    column: &str,
) -> Result<Option<lightship_api::Timestamp>, Error> {
    let millis: Option<i64> = row.try_get(column)?;
    Ok(millis.map(lightship_api::Timestamp::from_millis))
}

/// Reads a count; negative ones were not written by us.
pub(crate) fn count<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<T, Error>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|error| undecodable(column, error))
}

/// Reads a count that may be absent.
pub(crate) fn maybe_count(row: &AnyRow, column: &str) -> Result<Option<u64>, Error> {
    let number: Option<i64> = row.try_get(column)?;
    number
        .map(|number| u64::try_from(number).map_err(|error| undecodable(column, error)))
        .transpose()
}

/// A count as a column holds it; the largest one stands for everything larger.
pub(crate) fn column(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn undecodable(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Undecodable {
        column: column.to_owned(),
        source: Box::new(error),
    }
}

/// A database of its own in a folder, without tables.
#[cfg(test)]
pub(crate) async fn unmigrated(folder: &std::path::Path) -> Db {
    let url = format!("sqlite://{}?mode=rwc", folder.join("db").display());
    let (events, _) = tokio::sync::broadcast::channel(1);
    Db::connect(&url, events, None).await.unwrap()
}

/// A database of its own in a folder.
#[cfg(test)]
pub(crate) async fn for_test(folder: &std::path::Path) -> Db {
    let db = unmigrated(folder).await;
    migrations::run(&db).await.unwrap();
    db
}
