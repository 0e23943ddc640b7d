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
    run_first(db, STEPS.len()).await
}

async fn run_first(db: &Db, steps: usize) -> Result<(), Error> {
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
    for (position, step) in STEPS.iter().enumerate().take(steps).skip(done) {
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

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::*;

    /// What the database says that it is made of.
    async fn schema(db: &Db) -> Vec<String> {
        let query = sqlx::query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql");
        let rows = query.fetch_all(db.read()).await.unwrap();
        rows.iter().map(|row| row.get("sql")).collect()
    }

    #[tokio::test]
    async fn a_database_of_each_former_version_is_brought_up_to_date_with_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let newest = schema(&super::super::for_test(folder.path()).await).await;
        for version in 1..STEPS.len() {
            let folder = tempfile::tempdir().unwrap();
            let db = super::super::unmigrated(folder.path()).await;
            run_first(&db, version).await.unwrap();
            let mut tx = db.write().await.unwrap();
            let insert =
                "INSERT INTO users (name, password, admin, created_at) VALUES ('ann', 'x', 1, 7)";
            tx.on().execute(insert).await.unwrap();
            tx.commit().await.unwrap();
            run(&db).await.unwrap();
            // Running them once more changes nothing.
            run(&db).await.unwrap();
            assert_eq!(schema(&db).await, newest, "from version {version}");
            let user = crate::db::users::find(&db, "ann").await.unwrap();
            assert!(user.is_some(), "from version {version}");
        }
    }
}
