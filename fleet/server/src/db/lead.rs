//! Which of the servers on one PostgreSQL database works.
//!
//! A server keeps credentials, directors and connections in memory and is not told what another one
//! changed, so of several one leads and the others stand by. Each lead is a *term*, a number that
//! only rises. Whoever leads holds a lock that is named after its term for as long as its connection
//! lives, and renews a lease by the database's clock: a lead is over when the lock is free or the
//! lease has run out, whichever is first.
//!
//! Neither of them is what keeps two from writing. That is the [`Fence`]: every transaction looks,
//! right before it is committed, whether its server's term is still the last one, and holds the row
//! that says so until it has ended. Taking over waits for those and excludes all later ones, however
//! long a server slept that believes it leads. SQLite's file is one machine's, and its writer is one
//! process's, so there is nothing to agree upon.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AnyConnection, Connection, Executor, Row};
use tokio_util::sync::CancellationToken;

use super::Error;

/// What the locks are called in PostgreSQL: "ship" in bytes, and the term.
const LOCK: i32 = i32::from_be_bytes(*b"ship");
/// What the connections that decide it are called there.
const NAME: &str = "lightship lead";
/// How long a server leads that is not heard of any more.
const LEASE: Duration = Duration::from_secs(10);
/// How often the lease is renewed.
const BEAT: Duration = Duration::from_secs(1);
/// How long the database may take for that.
const PATIENCE: Duration = Duration::from_secs(3);

/// The one row that says who leads, and the keys that all servers share.
const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS lead (term INT PRIMARY KEY, until TIMESTAMPTZ NOT NULL, mark TEXT NOT NULL)",
    "INSERT INTO lead SELECT 0, clock_timestamp(), '' WHERE NOT EXISTS (SELECT 1 FROM lead)",
    "CREATE TABLE IF NOT EXISTS kept_keys (name TEXT PRIMARY KEY, sealed TEXT NOT NULL)",
];

/// A server that wants to lead.
pub(crate) struct Contender {
    connection: PgConnection,
    url: String,
}

/// A server that leads, until another takes over.
pub(crate) struct Lead {
    connection: PgConnection,
    url: String,
    term: i32,
    /// Whether this connection holds the term's lock.
    locked: bool,
    /// Cancelled when a transaction found the term to be over.
    lost: CancellationToken,
}

/// Lets transactions through while their server's term lasts.
#[derive(Clone)]
pub(crate) struct Fence {
    term: i32,
    lost: CancellationToken,
}

impl Contender {
    /// Connects, and makes the tables if this is the first server ever.
    pub(crate) async fn connect(url: &str) -> Result<Self, Error> {
        let mut connection = connect(url).await?;
        let mut tx = connection.begin().await?;
        let alone = sqlx::query("SELECT pg_advisory_xact_lock($1, -1)").bind(LOCK);
        alone.execute(&mut *tx).await?;
        for statement in TABLES {
            tx.execute(statement).await?;
        }
        tx.commit().await?;
        Ok(Self {
            connection,
            url: url.to_owned(),
        })
    }

    /// What the servers on this database have in common; empty before the first one led.
    pub(crate) async fn mark(&mut self) -> Result<String, Error> {
        let row = sqlx::query("SELECT mark FROM lead");
        let row = row.fetch_one(&mut self.connection).await?;
        Ok(row.try_get("mark")?)
    }

    /// The sealed keys of the servers on this database.
    pub(crate) async fn kept_keys(&mut self) -> Result<Vec<(String, String)>, Error> {
        kept_keys(&mut self.connection).await
    }

    /// Leads if nobody else does, and leaves its mark.
    pub(crate) async fn try_take(mut self, mark: &str) -> Result<Result<Lead, Self>, Error> {
        let Some(term) = self.next_term(mark).await? else {
            return Ok(Err(self));
        };
        tracing::info!(term, "this server leads");
        Ok(Ok(Lead {
            connection: self.connection,
            url: self.url,
            term,
            locked: true,
            lost: CancellationToken::new(),
        }))
    }

    async fn next_term(&mut self, mark: &str) -> Result<Option<i32>, Error> {
        let mut tx = self.connection.begin().await?;
        let look = "SELECT term, until < clock_timestamp() OR pg_try_advisory_xact_lock($1, term) AS over FROM lead";
        let row = sqlx::query(look).bind(LOCK).fetch_one(&mut *tx).await?;
        let (term, over): (i32, bool) = (row.try_get("term")?, row.try_get("over")?);
        if !over {
            return Ok(None);
        }
        // Waits for transactions that are being committed, and holds back all others.
        let held = sqlx::query("SELECT term FROM lead WHERE term = $1 FOR UPDATE").bind(term);
        if held.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(None);
        }
        let next = term + 1;
        let lock = sqlx::query("SELECT pg_try_advisory_lock($1, $2) AS held").bind(LOCK);
        let row = lock.bind(next).fetch_one(&mut *tx).await?;
        if !row.try_get("held")? {
            return Ok(None);
        }
        let take = "UPDATE lead SET term = $1, mark = $2, until = clock_timestamp() + make_interval(secs => $3)";
        let take = sqlx::query(take)
            .bind(next)
            .bind(mark)
            .bind(LEASE.as_secs_f64());
        take.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Some(next))
    }
}

impl Lead {
    /// The sealed keys of the servers on this database: nobody else changes them any more.
    pub(crate) async fn kept_keys(&mut self) -> Result<Vec<(String, String)>, Error> {
        kept_keys(&mut self.connection).await
    }

    /// What every transaction of this server is checked with.
    pub(crate) fn fence(&self) -> Fence {
        Fence {
            term: self.term,
            lost: self.lost.clone(),
        }
    }

    /// Keeps the lead until it is `given_up`; stops the server when it is lost.
    pub(crate) async fn hold(mut self, stop: CancellationToken, given_up: CancellationToken) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < LEASE {
            tokio::select! {
                () = given_up.cancelled() => return self.give_up().await,
                () = self.lost.cancelled() => break,
                () = tokio::time::sleep(BEAT) => {}
            }
            let now = Instant::now();
            match tokio::time::timeout(PATIENCE, self.renew()).await {
                Ok(Ok(true)) => renewed = now,
                Ok(Ok(false)) => break,
                Ok(Err(_)) | Err(_) => self.reconnect().await,
            }
        }
        tracing::error!(term = self.term, "this server leads no more, and stops");
        stop.cancel();
    }

    /// The lock goes with the connection: who stands by need not wait for the lease.
    async fn give_up(self) {
        let _ = self.connection.close().await;
    }

    /// Makes the lease last longer; false when the term is over.
    async fn renew(&mut self) -> Result<bool, Error> {
        if !self.locked {
            let lock = sqlx::query("SELECT pg_try_advisory_lock($1, $2) AS held").bind(LOCK);
            let row = lock.bind(self.term).fetch_one(&mut self.connection);
            self.locked = row.await?.try_get("held")?;
        }
        let renew =
            "UPDATE lead SET until = clock_timestamp() + make_interval(secs => $2) WHERE term = $1";
        let renew = sqlx::query(renew).bind(self.term).bind(LEASE.as_secs_f64());
        let renewed = renew.execute(&mut self.connection).await?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn reconnect(&mut self) {
        match tokio::time::timeout(PATIENCE, connect(&self.url)).await {
            Ok(Ok(connection)) => {
                self.connection = connection;
                self.locked = false;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the database cannot be reached"),
            Err(_) => tracing::warn!("the database does not answer"),
        }
    }
}

impl Fence {
    /// Lets a transaction through that is about to be committed, or says that the term is over.
    pub(super) async fn pass(&self, transaction: &mut AnyConnection) -> Result<(), Error> {
        // Held until the transaction ends: nobody takes over in between.
        let query = sqlx::query("SELECT term FROM lead WHERE term = $1 FOR KEY SHARE");
        let row = query.bind(self.term).fetch_optional(transaction).await?;
        if row.is_none() {
            self.lost.cancel();
            return Err(Error::Superseded);
        }
        Ok(())
    }
}

async fn connect(url: &str) -> Result<PgConnection, Error> {
    let options: PgConnectOptions = url.parse()?;
    // Shown where an operator looks who is connected.
    Ok(PgConnection::connect_with(&options.application_name(NAME)).await?)
}

async fn kept_keys(connection: &mut PgConnection) -> Result<Vec<(String, String)>, Error> {
    let query = sqlx::query("SELECT name, sealed FROM kept_keys");
    let rows = query.fetch_all(connection).await?;
    let key = |row: &PgRow| Ok((row.try_get("name")?, row.try_get("sealed")?));
    rows.iter().map(key).collect()
}
