//! What a build says, on its way into the database: taken in batches, bounded in lines and bytes.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use lightship_api::{BuildLine, Name};
use tokio::sync::Notify;

use crate::{App, db};

/// Lines that are kept of one build.
const LINES: u64 = 20_000;
/// Bytes of a line.
const LINE_BYTES: usize = 2048;

/// The log of one build.
#[derive(Default)]
pub(super) struct Journal {
    pending: Mutex<Pending>,
    bell: Notify,
}

#[derive(Default)]
struct Pending {
    said: u64,
    lines: Vec<BuildLine>,
}

impl Journal {
    /// Keeps a line; from any thread.
    pub(super) fn say(&self, device_type: &str, service: &str, line: &str) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.said > LINES {
            return;
        }
        pending.said += 1;
        let line = if pending.said > LINES {
            "it says more than is kept"
        } else {
            &line[..line.floor_char_boundary(LINE_BYTES)]
        };
        let line = BuildLine {
            number: pending.said,
            device_type: device_type.to_owned(),
            service: service.to_owned(),
            // A database takes no zeros in text.
            line: line.replace('\0', ""),
        };
        pending.lines.push(line);
        drop(pending);
        self.bell.notify_one();
    }

    fn take(&self) -> Vec<BuildLine> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut pending.lines)
    }

    /// Stores what is said while `work` goes on; all of it is stored when this returns.
    pub(super) async fn kept_while<T>(
        &self,
        app: &App,
        fleet: &Name,
        number: u64,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                ended = &mut work => {
                    self.store(app, fleet, number).await;
                    return ended;
                }
                () = self.bell.notified() => self.store(app, fleet, number).await,
            }
        }
    }

    async fn store(&self, app: &App, fleet: &Name, number: u64) {
        let lines = self.take();
        if lines.is_empty() {
            return;
        }
        let stored = async {
            let mut tx = app.db.write().await?;
            db::builds::insert_lines(&mut tx, fleet, number, &lines).await?;
            tx.commit().await
        };
        match stored.await {
            Ok(()) => app.build_went_on(fleet, number),
            Err(error) => tracing::warn!(%fleet, number, %error, "lines of a build are lost"),
        }
    }
}
