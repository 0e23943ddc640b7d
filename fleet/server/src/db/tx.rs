//! A transaction that knows who changes what.

use std::sync::Arc;

use lightship_api::{Change, Event, Name};
use sqlx::{Any, AnyConnection, Row, Transaction};
use tokio::sync::watch;

use super::lead::Fence;
use super::{Error, Listeners};
use crate::clock;

/// A transaction; dropped without [`Tx::commit`], nothing of it ever was.
pub(crate) struct Tx<'a> {
    inner: Transaction<'a, Any>,
    changes: Vec<Change>,
    listeners: Listeners,
    access: Arc<watch::Sender<u64>>,
    fence: Option<&'a Fence>,
}

/// What is recorded of a change.
pub(crate) struct Entry<'a> {
    /// Who: `user:NAME`, `token:ID`, `device:UUID` or `server`.
    pub(crate) by: &'a str,
    /// The fleet it concerns, if it concerns one.
    pub(crate) fleet: Option<&'a Name>,
    /// What was done, such as `device.moved`.
    pub(crate) what: &'static str,
    /// To what.
    pub(crate) subject: &'a str,
    /// What else is worth knowing; never a secret.
    pub(crate) detail: String,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        inner: Transaction<'a, Any>,
        listeners: Listeners,
        access: Arc<watch::Sender<u64>>,
        fence: Option<&'a Fence>,
    ) -> Self {
        Self {
            inner,
            changes: Vec::new(),
            listeners,
            access,
            fence,
        }
    }

    /// What statements run on.
    pub(crate) fn on(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }

    /// Records who changes what.
    pub(crate) async fn record(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        let at = clock::now();
        let insert = "INSERT INTO changes (at, by_whom, fleet, what, subject, detail) VALUES ($1, $2, $3, $4, $5, $6) RETURNING number";
        let row = sqlx::query(insert).bind(at.as_millis()).bind(entry.by);
        let row = row
            .bind(entry.fleet.map(Name::as_str))
            .bind(entry.what)
            .bind(entry.subject);
        let row = row.bind(entry.detail.as_str()).fetch_one(self.on()).await?;
        let number = u64::try_from(row.try_get::<i64, _>("number")?).unwrap_or_default();
        self.changes.push(Change {
            number,
            at,
            by: entry.by.to_owned(),
            fleet: entry.fleet.cloned(),
            what: entry.what.to_owned(),
            subject: entry.subject.to_owned(),
            detail: entry.detail,
        });
        Ok(())
    }

    /// Makes it true, unless another server leads by now, then tells who listens.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if let Some(fence) = self.fence {
            fence.pass(&mut self.inner).await?;
        }
        self.inner.commit().await?;
        if self.changes.iter().any(concerns_access) {
            // Before anybody is told anything: who lost the right to hear it does not.
            self.access
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        for change in self.changes {
            if let Some(fleet) = change.fleet.clone() {
                // Nobody listening is no failure.
                let _ = self.listeners.send((fleet, Event::Change(change)));
            }
        }
        Ok(())
    }
}

/// Whether a change may have taken a right from somebody.
fn concerns_access(change: &Change) -> bool {
    let kind = change.what.split('.').next().unwrap_or_default();
    matches!(kind, "member" | "token" | "user" | "session" | "fleet")
}
