//! Whether somebody who listens to a stream may still do so.
//!
//! A request is judged once, a stream as long as it lasts: whoever is taken out of the fleet, or
//! whose token ends, hears nothing that happens after that was stored.

use lightship_api::{Name, Role};
use tokio::sync::watch;

use super::caller::Caller;
use super::failure::Answer;
use crate::{App, clock, db};

/// The right to listen to what happens in a fleet.
pub(super) struct Standing {
    app: App,
    caller: Caller,
    fleet: Name,
    changed: watch::Receiver<u64>,
    /// The state of who may do what when this was judged last.
    judged: u64,
    expires_at_ms: i64,
}

impl Standing {
    /// Refuses whoever may not look into the fleet; the right is judged again whenever rights change.
    pub(super) async fn of(app: &App, caller: Caller, fleet: &Name) -> Answer<Self> {
        let changed = app.db.access();
        let judged = *changed.borrow();
        caller.require(app, fleet, Role::Viewer).await?;
        let token = db::tokens::find(&app.db, &caller.token).await?;
        Ok(Self {
            app: app.clone(),
            fleet: fleet.clone(),
            changed,
            judged,
            expires_at_ms: token.map_or(0, |known| known.token.expires_at.as_millis()),
            caller,
        })
    }

    /// Whether the right still holds; asks the database only when rights have changed.
    pub(super) async fn holds(&mut self) -> bool {
        if clock::now_ms() >= self.expires_at_ms {
            return false;
        }
        let now = *self.changed.borrow();
        if now == self.judged {
            return true;
        }
        let holds = self.judge().await.unwrap_or(false);
        // Set last: this may be given up halfway, and is asked again then.
        if holds {
            self.judged = now;
        }
        holds
    }

    async fn judge(&self) -> Answer<bool> {
        let Some(known) = db::tokens::find(&self.app.db, &self.caller.token).await? else {
            return Ok(false);
        };
        let caller = Caller {
            admin: known.admin,
            ..self.caller.clone()
        };
        let role = caller.role_in(&self.app, &self.fleet).await?;
        Ok(role.is_some_and(|role| role >= Role::Viewer))
    }

    /// Returns when the right is lost, or the server stops.
    pub(super) async fn lost(&mut self) {
        while self.holds().await {
            let left = u64::try_from(self.expires_at_ms - clock::now_ms()).unwrap_or_default();
            tokio::select! {
                () = self.app.stop.cancelled() => return,
                () = tokio::time::sleep(std::time::Duration::from_millis(left)) => {}
                // Whoever tells of changes lives as long as the server.
                _ = self.changed.changed() => {}
            }
        }
    }
}
