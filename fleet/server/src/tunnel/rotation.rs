//! New hub keys and pre-shared keys: devices are told of them, and the ones before are accepted
//! until the new ones were used.
//!
//! A device that is there is told at once, or at a time of its own within the span of a rotation;
//! one that is away when it is back. What it owes is a number in the roster, so that a device that
//! owes nothing costs no query.

use std::time::Duration;

use lightship_api::{HubKey, HubKeyRotation};
use lightship_core::id::Uuid;
use lightship_wireguard::hub::Note;
use lightship_wireguard::{PublicKey, SecretKey};
use tokio::time::Instant;

use super::keys::HubKey as Key;
use super::{Tunnel, address, number};
use crate::db::places::Placed;
use crate::db::{self, Entry};
use crate::http::caller::Caller;
use crate::http::failure::{Answer, Failure};
use crate::{App, rotation};

impl Tunnel {
    /// Whether a device was told of keys that it has not used yet, or is to be told.
    fn is_owed(&self, device: &Placed) -> bool {
        let keys = self.keys();
        let has_current = match &device.hub_key {
            Some(known) => *known == hex::encode(keys.current.secret.public().0),
            None => keys.former.is_none(),
        };
        device.wireguard.is_some() && (!has_current || device.next_preshared.is_some())
    }

    /// The number that stands for what a device is told of its tunnel; 0 when it has used all of it.
    pub(crate) fn owed(&self, device: &Placed) -> u32 {
        if !self.is_owed(device) {
            return 0;
        }
        let terms = serde_json::to_vec(&self.of(device)).expect("terms are plain data");
        let digest = lightship_core::id::Digest::of(&terms).0;
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
    }

    /// Answers to a new key from now on, beside the one so far; returns the new one.
    fn begin(&self) -> Answer<PublicKey> {
        let mut keys = self.keys();
        if keys.former.is_some() {
            return Err(Failure::conflict(
                "devices are still moving to the hub's newest key; retire the former one first",
            ));
        }
        let next = Key {
            secret: SecretKey::generate(),
            second: self.has_port_for_each && !keys.current.second,
        };
        let port = self.port_of(&next).ok_or_else(|| {
            Failure::conflict(
                "each key of a kernel hub has a UDP port of its own: set tunnel.second_port, and let it through the firewall",
            )
        })?;
        self.hub
            .add_key_at(next.secret.clone(), port)
            .map_err(Failure::internal)?;
        let public = next.secret.public();
        if let Err(error) = keys.replace(next) {
            self.hub.retire_key(&public);
            return Err(Failure::internal(error));
        }
        Ok(public)
    }

    /// Answers to the former key no more; whether there was one.
    fn end(&self) -> Answer<bool> {
        let former = self.keys().forget().map_err(Failure::internal)?;
        Ok(former.is_some_and(|former| self.hub.retire_key(&former.secret.public())))
    }
}

impl App {
    /// The hub, where there is one.
    pub(crate) fn hub(&self) -> Answer<&Tunnel> {
        self.tunnel().ok_or_else(|| {
            Failure::conflict(
                "this server has no tunnel hub; tunnel.listen in its configuration gives it one",
            )
        })
    }

    /// The hub's keys, and how many devices have not used the newest one yet.
    pub(crate) async fn hub_key(&self) -> Answer<HubKey> {
        let (key, former) = {
            let keys = self.hub()?.keys();
            let text = |key: &Key| hex::encode(key.secret.public().0);
            (text(&keys.current), keys.former.as_ref().map(text))
        };
        let behind = match &former {
            Some(_) => db::places::behind(&self.db, &key).await?,
            None => 0,
        };
        Ok(HubKey {
            key,
            former,
            behind,
        })
    }

    /// Gives the hub a new key and tells all devices, spread over `over_s` seconds.
    pub(crate) async fn rotate_hub_key(
        &self,
        caller: &Caller,
        rotation: &HubKeyRotation,
    ) -> Answer<HubKey> {
        let public = self.hub()?.begin()?;
        self.recorded(caller, "hub-key.rotated", hex::encode(public.0))
            .await?;
        let mut times = Vec::new();
        for device in db::places::placed(&self.db).await? {
            let after_ms = rotation::chance(u64::from(rotation.over_s) * 1000);
            times.push((
                Instant::now() + Duration::from_millis(after_ms),
                device.uuid,
            ));
        }
        times.sort_unstable_by_key(|(at, _)| *at);
        tokio::spawn(tell_in_time(self.clone(), times));
        self.hub_key().await
    }

    /// Answers to the former hub key no more, whoever still uses it.
    pub(crate) async fn retire_hub_key(&self, caller: &Caller) -> Answer<HubKey> {
        let left = self.hub_key().await?.behind;
        if !self.hub()?.end()? {
            return Err(Failure::conflict("the hub has no former key"));
        }
        self.recorded(caller, "hub-key.retired", format!("{left} devices behind"))
            .await?;
        self.hub_key().await
    }

    async fn recorded(&self, caller: &Caller, what: &'static str, detail: String) -> Answer<()> {
        let mut tx = self.db.write().await?;
        let by = caller.by();
        tx.record(Entry {
            by: &by,
            fleet: None,
            what,
            subject: "hub-key",
            detail,
        })
        .await?;
        // Another server that takes over answers to the same keys.
        self.keep_keys(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Accepts a new pre-shared key of a device beside the one in use, and tells the device.
    pub(crate) async fn rotate_preshared(&self, uuid: &Uuid) -> Answer<()> {
        let Some(tunnel) = self.tunnel() else {
            return Ok(());
        };
        let text = uuid.to_string();
        db::places::offer_preshared(&self.db, &text).await?;
        if let Some(device) = db::places::find_placed(&self.db, "", &text).await?
            && let Some(next) = device.next_preshared
        {
            let key = tunnel.preshared_key(&text, next);
            // A device that was never let in has no tunnel whose key could change.
            let _ = tunnel.hub.offer_preshared(address(device.address), key);
        }
        self.tell_tunnel(uuid).await
    }

    /// Tells a device what it owes, now or when it is back.
    pub(crate) async fn tell_tunnel(&self, uuid: &Uuid) -> Answer<()> {
        let (Some(tunnel), Some(known)) = (self.tunnel(), self.roster.find(uuid)) else {
            return Ok(());
        };
        let device = db::places::find_placed(&self.db, "", &uuid.to_string()).await?;
        let owed = device.map_or(0, |device| tunnel.owed(&device));
        known.owe(owed);
        if owed > 0 {
            self.outbox.tunnel(*uuid);
        }
        Ok(())
    }

    /// What a device is to be told of its tunnel, if it owes the use of it.
    pub(crate) async fn owed_tunnel(
        &self,
        uuid: &Uuid,
    ) -> Result<Option<lightship_core::wire::Tunnel>, db::Error> {
        let Some(tunnel) = self.tunnel() else {
            return Ok(None);
        };
        let device = db::places::find_placed(&self.db, "", &uuid.to_string()).await?;
        Ok(device
            .filter(|device| tunnel.is_owed(device))
            .map(|device| tunnel.of(&device)))
    }

    /// Stores what a device used for the first time.
    pub(super) async fn used(&self, note: Note) -> Answer<()> {
        let address = match note {
            Note::Connected { address, .. }
            | Note::DeviceKeyRetired { address, .. }
            | Note::PresharedKeyRetired { address } => address,
        };
        let Some(device) = db::places::placed_at(&self.db, number(address)).await? else {
            return Ok(());
        };
        let uuid = device.uuid.to_string();
        let at_ms = crate::clock::now_ms();
        match note {
            Note::Connected { hub, .. } => {
                let hub = hex::encode(hub.0);
                if device.hub_key.as_deref() == Some(&hub) {
                    return Ok(());
                }
                db::places::use_hub_key(&self.db, &uuid, &hub).await?;
            }
            Note::DeviceKeyRetired { current, .. } => {
                let (number, current) = (device.address, hex::encode(current.0));
                db::places::retire_tunnel_key(&self.db, number, &current, at_ms).await?;
                return Ok(());
            }
            Note::PresharedKeyRetired { .. } => {
                db::places::retire_preshared(&self.db, &uuid).await?;
            }
        }
        self.tell_tunnel(&device.uuid).await?;
        self.finish_rotation().await
    }

    /// The last device has used the newest hub key: the former one is answered to no more.
    pub(crate) async fn finish_rotation(&self) -> Answer<()> {
        let keys = self.hub_key().await?;
        if keys.former.is_some() && keys.behind == 0 && self.hub()?.end()? {
            tracing::info!(key = keys.key, "every device uses the hub's newest key");
        }
        Ok(())
    }
}

/// Tells each device at its time, until the server stops; a server that starts tells who is left when it is back.
async fn tell_in_time(app: App, times: Vec<(Instant, Uuid)>) {
    for (at, uuid) in times {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep_until(at) => {}
        }
        if let Err(failure) = app.tell_tunnel(&uuid).await {
            tracing::warn!(%uuid, cause = failure.text(), "a device is told of the hub's new key when it is back");
        }
    }
}
