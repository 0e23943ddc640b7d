//! What devices ask and say, whatever carries it: registration, keys, reports, and the answer
//! to the one question that everything else hangs on, "is there news?".

use std::collections::BTreeMap;

use lightship_api::{Device, Event, Metrics, Name};
use lightship_core::id::{ApiKey, Uuid};
use lightship_core::wire::{
    Blob, Command, Down, KeyAccepted, NewKey, Refusal, Refused, Register, Registered, Report,
    SignedRoot, SignedTarget,
};
use lightship_director as director;
use tokio::sync::{mpsc, oneshot};

use crate::db::{self, Entry, Tx};
use crate::http::failure::{Answer, Failure};
use crate::roster::{Credentials, Head, Known, Shown};
use crate::{App, clock, direct};

/// Seconds after which a device that was told "busy" may ask again.
const BUSY_S: u32 = 30;
/// Reports stored in one transaction.
const REPORTS: usize = 256;
/// Reports that wait to be stored.
const REPORT_QUEUE: usize = 4096;

/// A registration or proposal that is not taken, or a failure of ours.
pub(crate) enum Declined {
    Refused(Refused),
    Failure(Failure),
}

impl From<db::Error> for Declined {
    fn from(error: db::Error) -> Self {
        Self::Failure(error.into())
    }
}

fn refuse(reason: Refusal) -> Declined {
    let retry_after_s = matches!(reason, Refusal::Busy).then_some(BUSY_S);
    Declined::Refused(Refused {
        reason,
        retry_after_s,
    })
}

/// An API key as it is shown in a header.
pub(crate) fn text(key: &ApiKey) -> String {
    hex::encode(key.0)
}

impl App {
    /// The device that shows this key, which from now on is its only one.
    pub(crate) async fn authenticate(
        &self,
        uuid: &str,
        key: &str,
    ) -> Answer<Option<std::sync::Arc<Known>>> {
        let Some(known) = uuid
            .parse::<Uuid>()
            .ok()
            .and_then(|uuid| self.roster.find(&uuid))
        else {
            // As much work as for a device that exists.
            self.secrets.matches(key, &self.secrets.hash("nobody"));
            return Ok(None);
        };
        match known.judge(&self.secrets, key) {
            Shown::Wrong => return Ok(None),
            Shown::Current => {}
            Shown::Next => {
                let mut tx = self.db.write().await?;
                db::devices::retire_api_key(&mut tx, uuid, clock::now_ms()).await?;
                let (by, fleet) = (format!("device:{uuid}"), known.fleet());
                tx.record(Entry {
                    by: &by,
                    fleet: Some(&fleet),
                    what: "device.api-key-rotated",
                    subject: uuid,
                    detail: String::new(),
                })
                .await?;
                tx.commit().await?;
                known.retire();
            }
        }
        known.seen();
        Ok(Some(known))
    }

    /// Lets a device in. The same uuid and key again is as good as once.
    pub(crate) async fn register(&self, asked: &Register) -> Result<Registered, Declined> {
        let uuid = asked.uuid.to_string();
        let key = text(&asked.api_key);
        let mut tx = self.db.write().await?;
        let known = db::devices::find_in(&mut tx, &uuid).await?;
        if let Some((_, Some(hash))) = &known
            && self.secrets.matches(&key, hash)
        {
            drop(tx);
            return Ok(self.registered(asked.uuid).await?);
        }
        let fleet = self.opened(&mut tx, asked).await?;
        match known {
            Some((device, _)) if device.fleet != fleet => {
                return Err(refuse(Refusal::BadProvisioningKey));
            }
            Some((_, Some(_))) => return Err(refuse(Refusal::IdentityTaken)),
            Some((_, None)) => {}
            None => self.enter(&mut tx, asked, &fleet).await?,
        }
        let wireguard = hex::encode(asked.wireguard.0);
        if db::devices::tunnel_key_taken(&mut tx, &wireguard, &uuid).await? {
            return Err(refuse(Refusal::BadKey));
        }
        let hash = self.secrets.hash(&key);
        let at_ms = clock::now_ms();
        let new = db::devices::Registration {
            uuid: &uuid,
            api_key: &hash,
            wireguard: &wireguard,
            device_type: asked.device_type.as_str(),
            at_ms,
        };
        if !db::devices::register(&mut tx, &new).await? {
            return Err(refuse(Refusal::IdentityTaken));
        }
        db::places::place(&mut tx, &uuid).await?;
        let by = format!("device:{uuid}");
        tx.record(Entry {
            by: &by,
            fleet: Some(&fleet),
            what: "device.registered",
            subject: &uuid,
            detail: asked.device_type.to_string(),
        })
        .await?;
        tx.commit().await?;
        self.metrics
            .registrations
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = db::roots::newest_version(&self.db, &fleet).await?;
        let head = Head {
            counter: 0,
            root,
            command: 0,
            tunnel: 0,
        };
        self.roster.put(Credentials {
            uuid: asked.uuid,
            fleet: fleet.clone(),
            api_key: hash,
            next_api_key: None,
            head,
        });
        self.refresh(&fleet, &uuid)
            .await
            .map_err(Declined::Failure)?;
        Ok(self.registered(asked.uuid).await?)
    }

    /// The fleet that a provisioning key opens, with one use of it spent.
    async fn opened(&self, tx: &mut Tx<'_>, asked: &Register) -> Result<Name, Declined> {
        let secret = self.secrets.hash(&hex::encode(asked.provisioning_key.0));
        let opened = db::provisioning_keys::open(tx, &secret, clock::now_ms()).await?;
        let opened = opened
            .filter(|opened| opened.valid)
            .ok_or_else(|| refuse(Refusal::BadProvisioningKey))?;
        if db::provisioning_keys::spend(tx, &opened.id).await? {
            Ok(opened.fleet)
        } else {
            Err(refuse(Refusal::BadProvisioningKey))
        }
    }

    async fn enter(&self, tx: &mut Tx<'_>, asked: &Register, fleet: &Name) -> Result<(), Declined> {
        let device_type = asked
            .device_type
            .as_str()
            .parse()
            .map_err(|_| refuse(Refusal::UnknownDeviceType))?;
        if db::devices::count_of(tx, fleet).await?
            >= i64::from(self.config.limits.devices_per_fleet)
        {
            return Err(refuse(Refusal::Busy));
        }
        let name = asked
            .name
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        Ok(db::devices::insert(
            tx,
            &fresh(asked.uuid.to_string(), fleet.clone(), name, device_type),
        )
        .await?)
    }

    /// What a registered device is told; its tunnel is open when it hears of it.
    async fn registered(&self, uuid: Uuid) -> Result<Registered, db::Error> {
        let Some(tunnel) = self.tunnel() else {
            return Ok(Registered { uuid, tunnel: None });
        };
        let placed = db::places::find_placed(&self.db, "", &uuid.to_string()).await?;
        let Some(placed) = placed else {
            return Ok(Registered { uuid, tunnel: None });
        };
        tunnel.admit(&placed);
        let told = tunnel.of(&placed);
        // What is told now is what it uses first, or tries when it is told again.
        if placed.hub_key.is_none() {
            let mut tx = self.db.write().await?;
            let hub = hex::encode(told.hub.0);
            db::places::set_hub_key(&mut tx, &uuid.to_string(), &hub).await?;
            tx.commit().await?;
        }
        Ok(Registered {
            uuid,
            tunnel: Some(told),
        })
    }

    /// Tells the director what is stored of a device.
    pub(crate) async fn refresh(&self, fleet: &Name, uuid: &str) -> Answer<()> {
        let Some(facts) = direct::device_facts(self, fleet, uuid).await? else {
            return Ok(());
        };
        let uuid: Uuid = uuid.parse().map_err(|_| Failure::not_found("device"))?;
        self.tell(fleet, director::Event::Device(uuid, Box::new(facts)))
            .await
    }

    /// Accepts a new key beside the one in use.
    pub(crate) async fn propose(
        &self,
        known: &Known,
        new: &NewKey,
    ) -> Result<KeyAccepted, Declined> {
        let uuid = known.uuid.to_string();
        let mut tx = self.db.write().await?;
        match new {
            NewKey::Api(key) => {
                let hash = self.secrets.hash(&text(key));
                db::devices::propose_api_key(&mut tx, &uuid, &hash).await?;
                tx.commit().await?;
                known.propose(hash);
            }
            NewKey::WireGuard(proposed) => {
                let proposed = *proposed;
                let key = hex::encode(proposed.0);
                if db::devices::tunnel_key_taken(&mut tx, &key, &uuid).await? {
                    return Err(refuse(Refusal::BadKey));
                }
                db::devices::propose_tunnel_key(&mut tx, &uuid, &key).await?;
                tx.commit().await?;
                if let Some(tunnel) = self.tunnel()
                    && let Some(placed) = db::places::find_placed(&self.db, "", &uuid).await?
                {
                    tunnel.offer(placed.address, &proposed);
                }
            }
        }
        Ok(KeyAccepted {
            kind: new.kind(),
            id: new.id(),
        })
    }

    /// Stores a report; when this returns, it is stored.
    pub(crate) async fn report(&self, known: &Known, report: Report) -> Answer<()> {
        let (reply, stored) = oneshot::channel();
        let waiting = Waiting {
            uuid: known.uuid,
            fleet: known.fleet(),
            report,
            reply,
        };
        let sent = self.reports.send(waiting).await;
        sent.map_err(|_| Failure::unavailable("the server is stopping"))?;
        stored
            .await
            .unwrap_or_else(|_| Err(Failure::unavailable("the report was not stored")))
    }

    /// The first news that a device has not had, with the entity tag that names it.
    pub(crate) async fn news(
        &self,
        known: &Known,
        head: Head,
        had: &Had,
    ) -> Answer<Option<(String, Vec<u8>)>> {
        let uuid = known.uuid.to_string();
        let next_root = had.root.saturating_add(1);
        if had.root > 0
            && head.root >= next_root
            && !had.tags.contains(&format!("root-{next_root}"))
        {
            let root = db::roots::find(&self.db, &known.fleet(), next_root).await?;
            if let Some(document) = root {
                let down = Down::Root(SignedRoot {
                    document: Blob::Raw(&document),
                });
                return Ok(Some((format!("root-{next_root}"), encoded(&down)?)));
            }
        }
        if head.command > had.command
            && let Some(next) = db::commands::pending(&self.db, &uuid, had.command)
                .await?
                .into_iter()
                .next()
            && !had.tags.contains(&format!("command-{}", next.id))
        {
            let command = Command {
                id: next.id,
                order: next.order,
            };
            return Ok(Some((
                format!("command-{}", next.id),
                encoded(&Down::Command(command))?,
            )));
        }
        if head.counter > 0 && !had.tags.contains(&head.counter.to_string()) {
            let stored = db::assignments::find(&self.db, &uuid).await?;
            if let Some(stored) = stored {
                let (assignment, release) =
                    (Blob::Raw(&stored.assignment), Blob::Raw(&stored.release));
                let down = Down::Target(SignedTarget {
                    assignment,
                    release,
                });
                return Ok(Some((stored.counter.to_string(), encoded(&down)?)));
            }
        }
        let tag = format!("tunnel-{}", head.tunnel);
        if head.tunnel > 0
            && !had.tags.contains(&tag)
            && let Some(tunnel) = self.owed_tunnel(&known.uuid).await?
        {
            return Ok(Some((tag, encoded(&Down::Tunnel(tunnel))?)));
        }
        Ok(None)
    }
}

/// A device of which nothing is known yet.
pub(crate) fn fresh(uuid: String, fleet: Name, name: String, device_type: Name) -> Device {
    Device {
        uuid,
        fleet,
        name,
        device_type,
        tags: std::collections::BTreeMap::new(),
        pinned: None,
        target: None,
        running: None,
        running_release: None,
        running_version: None,
        state: None,
        counter: 0,
        online: false,
        transport: None,
        last_seen_at: None,
        last_handshake_at: None,
        api_key_changed_at: None,
        tunnel_key_changed_at: None,
        registered_at: None,
        created_at: clock::now(),
        locks_overridden: false,
        windows: None,
        zone: None,
        metrics: Metrics::default(),
        metrics_at: None,
    }
}

/// What a device says it has had.
#[derive(Debug, Default)]
pub(crate) struct Had {
    /// The version of the root that it trusts; 0 asks for none.
    pub(crate) root: u32,
    /// The highest command that it has had.
    pub(crate) command: u64,
    /// Entity tags of messages that it has had.
    pub(crate) tags: Vec<String>,
}

fn encoded(down: &Down<'_>) -> Answer<Vec<u8>> {
    serde_json::to_vec(down).map_err(Failure::internal)
}

/// A report on its way into the database.
pub(crate) struct Waiting {
    uuid: Uuid,
    fleet: Name,
    report: Report,
    reply: oneshot::Sender<Answer<()>>,
}

/// Where reports wait, and where they are taken from.
pub(crate) fn reports() -> (mpsc::Sender<Waiting>, mpsc::Receiver<Waiting>) {
    mpsc::channel(REPORT_QUEUE)
}

/// Stores reports, as many as wait in one transaction, until the server stops.
pub(crate) async fn store_reports(app: App, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            () = app.stop.cancelled() => return,
            count = waiting.recv_many(&mut batch, REPORTS) => count,
        };
        if count == 0 {
            return;
        }
        let stored = store(&app, &batch).await;
        if let Err(error) = &stored {
            tracing::error!(%error, "storing reports");
        }
        for one in batch.drain(..) {
            let answer = match &stored {
                Ok(()) => {
                    heard(&app, &one).await;
                    Ok(())
                }
                Err(_) => Err(Failure::unavailable("the report was not stored")),
            };
            // The device may have hung up; what it said is stored all the same.
            let _ = one.reply.send(answer);
        }
    }
}

async fn store(app: &App, batch: &[Waiting]) -> Result<(), db::Error> {
    // Of several reports of one device the last one counts.
    let newest: BTreeMap<Uuid, &Report> = batch.iter().map(|one| (one.uuid, &one.report)).collect();
    let reports: Vec<_> = newest.into_iter().collect();
    let mut tx = app.db.write().await?;
    db::devices::set_reports(&mut tx, &reports, clock::now_ms()).await?;
    tx.commit().await
}

/// Tells whoever wants to know of a report that is stored.
async fn heard(app: &App, one: &Waiting) {
    app.metrics
        .reports
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let report = &one.report;
    let release = report.trial.map(|trial| trial.release).or(report.committed);
    let event = Event::Report {
        device: one.uuid.to_string(),
        release: release.map_or_else(String::new, |digest| digest.to_string()),
        state: db::devices::state(report).to_owned(),
    };
    // Nobody listening is no failure.
    let _ = app.events.send((one.fleet.clone(), event));
    app.told(
        &one.fleet,
        director::Event::Reported(one.uuid, director::Report::from(report)),
    )
    .await;
}
