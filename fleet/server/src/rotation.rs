//! New keys for a whole fleet: asked of each device at a time of its own, and of those that are
//! away when they are back.

use std::time::Duration;

use lightship_api::Name;
use lightship_core::id::Uuid;
use lightship_core::wire::{KeyKind, Order};

use crate::db::Entry;
use crate::http::caller::Caller;
use crate::http::failure::Answer;
use crate::roster::Head;
use crate::{App, clock, db, secret};

/// How often it is looked for devices whose time has come.
const LOOK: Duration = Duration::from_secs(5);
/// Devices asked in one look: what a server that also does other things can sign and store.
const TOGETHER: i64 = 256;
/// A device that is away is looked for again after so long.
const AWAY_MS: i64 = 60_000;

/// Orders that replace every key of a device.
pub(crate) const ORDERS: [Order; 2] = [
    Order::Rotate(KeyKind::Api),
    Order::Rotate(KeyKind::WireGuard),
];

impl App {
    /// Plans new keys for all devices of a fleet, spread over `over_s` seconds.
    pub(crate) async fn rotate_fleet(
        &self,
        caller: &Caller,
        fleet: &Name,
        over_s: u32,
    ) -> Answer<u64> {
        let now_ms = clock::now_ms();
        let due_at = || now_ms + i64::try_from(chance(u64::from(over_s) * 1000)).unwrap_or(0);
        let mut tx = self.db.write().await?;
        let devices = db::rotations::plan(&mut tx, fleet, due_at).await?;
        let by = caller.by();
        tx.record(Entry {
            by: &by,
            fleet: Some(fleet),
            what: "fleet.keys-rotated",
            subject: fleet.as_str(),
            detail: format!("{devices} devices within {over_s} s"),
        })
        .await?;
        tx.commit().await?;
        Ok(devices)
    }

    /// Asks those whose time has come.
    pub(crate) async fn rotate_due(&self) -> Answer<()> {
        let now_ms = clock::now_ms();
        for uuid in db::rotations::due(&self.db, now_ms, TOGETHER).await? {
            let online = self.roster.find(&uuid).filter(|known| known.is_online());
            let (text, mut newest) = (uuid.to_string(), 0);
            let mut tx = self.db.write().await?;
            if online.is_none() {
                db::rotations::put_off(&mut tx, &text, now_ms + AWAY_MS).await?;
            } else if db::rotations::take(&mut tx, &text).await? {
                for order in &ORDERS {
                    newest = db::commands::insert(&mut tx, &text, order).await?;
                }
            }
            tx.commit().await?;
            if newest > 0 {
                self.commanded(uuid, newest);
                self.rotate_preshared(&uuid).await?;
            }
        }
        Ok(())
    }

    /// Tells a device that there is a command for it.
    pub(crate) fn commanded(&self, uuid: Uuid, newest: u64) {
        if let Some(known) = self.roster.find(&uuid) {
            known.raise(Head {
                command: newest,
                ..Head::default()
            });
            self.outbox.command(uuid);
        }
    }
}

/// Asks devices whose time has come, until the server stops.
pub(crate) async fn run(app: App) {
    loop {
        if let Err(failure) = app.rotate_due().await {
            tracing::warn!(cause = failure.text(), "asking devices for new keys");
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Any number below `below`; 0 when that is 0.
pub(crate) fn chance(below: u64) -> u64 {
    u64::from_le_bytes(secret::random::<8>()) % below.max(1)
}
