//! Log lines: stored for a while, and shown live to whoever follows.

use lightship_api::LogLine;
use tokio::sync::broadcast;

use crate::db;
use crate::http::failure::Answer;
use crate::{App, clock};

/// Lines that a slow follower may fall behind.
const LIVE: usize = 4096;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Where live lines are sent.
pub(crate) fn live() -> broadcast::Sender<LogLine> {
    broadcast::channel(LIVE).0
}

impl App {
    /// Stores lines, then shows them.
    pub(crate) async fn store_logs(&self, lines: Vec<LogLine>) -> Answer<()> {
        let mut tx = self.db.write().await?;
        db::log_lines::insert(&mut tx, &lines).await?;
        tx.commit().await?;
        self.metrics
            .log_lines
            .fetch_add(lines.len() as u64, std::sync::atomic::Ordering::Relaxed);
        for line in lines {
            // Nobody following is no failure.
            let _ = self.log_lines.send(line);
        }
        Ok(())
    }

    /// Removes lines that are older, or more, than is kept.
    pub(crate) async fn sweep_logs(&self) -> Answer<()> {
        let logs = &self.config.logs;
        let mut tx = self.db.write().await?;
        db::log_lines::delete_before(
            &mut tx,
            clock::now_ms() - i64::from(logs.keep_days) * DAY_MS,
        )
        .await?;
        db::log_lines::delete_beyond(&mut tx, i64::from(logs.keep_lines)).await?;
        Ok(tx.commit().await?)
    }
}
