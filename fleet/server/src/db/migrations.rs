//! The schema, one step at a time; a step that has run anywhere is never edited.
//!
//! `{serial}` and `{blob}` are the only words in which the two databases differ.

use sqlx::{AssertSqlSafe, Executor};

use super::{Backend, Db, Error};
use crate::clock;

/// Every step, in order; the position is the version.
const STEPS: [&str; 7] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
];

/// Runs the steps that have not run yet, all or none.
pub(super) async fn run(db: &Db) -> Result<(), Error> {
    let mut tx = db.write().await?;
    let table =
        "CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY, at BIGINT NOT NULL)";
    tx.on().execute(table).await?;
    if db.backend == Backend::Postgres {
        // Servers that start together run the steps one after the other.
        tx.on()
            .execute("LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE")
            .await?;
    }
    let row = sqlx::query("SELECT COUNT(*) AS steps FROM migrations")
        .fetch_one(tx.on())
        .await?;
    let done: usize = super::count(&row, "steps")?;
    for (position, step) in STEPS.iter().enumerate().skip(done) {
        tx.on()
            .execute(AssertSqlSafe(in_dialect(step, db.backend)))
            .await?;
        let version = i64::try_from(position + 1).expect("there are few steps");
        let insert = sqlx::query("INSERT INTO migrations (version, at) VALUES ($1, $2)");
        insert
            .bind(version)
            .bind(clock::now_ms())
            .execute(tx.on())
            .await?;
    }
    tx.commit().await
}

fn in_dialect(step: &str, backend: Backend) -> String {
    let (serial, blob) = match backend {
        Backend::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB"),
        Backend::Postgres => ("BIGSERIAL PRIMARY KEY", "BYTEA"),
    };
    step.replace("{serial}", serial).replace("{blob}", blob)
}
