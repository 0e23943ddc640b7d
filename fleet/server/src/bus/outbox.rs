//! What is to be sent over the bus, by device: the newest of each kind, so that it is bounded by
//! the number of devices whatever happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lightship_core::id::Uuid;
use lightship_core::wire::{self, Blob, Command, Down, SignedRoot, SignedTarget};
use tokio::sync::Notify;

use super::{Bus, Message, topic};
use crate::http::failure::Answer;
use crate::roster::Known;
use crate::{App, clock, db};

/// Devices served at the same time.
const TOGETHER: usize = 16;
/// How long the broker keeps what is said again to a device that comes back.
const EXPIRY_S: u32 = 60;

/// What waits.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<HashMap<Uuid, Due>>,
    bell: Notify,
}

/// What one device is to be sent.
#[derive(Debug, Default)]
struct Due {
    target: Target,
    commands: bool,
    tunnel: bool,
    root: Option<u32>,
}

/// Which target a device is to be sent.
#[derive(Debug, Default)]
enum Target {
    /// None.
    #[default]
    Nothing,
    /// This one, unless there is a newer one by then.
    Told(Told),
    /// The one that is stored.
    Stored,
}

/// A target that has just been stored: a roll-out does not read again what it wrote.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) counter: u64,
    pub(crate) assignment: Vec<u8>,
    /// The release document, which many devices share.
    pub(crate) release: Arc<[u8]>,
}

impl Outbox {
    /// A device connected.
    pub(crate) fn greet(&self, device: Uuid, target: bool) {
        self.add(device, |due| {
            if target && matches!(due.target, Target::Nothing) {
                due.target = Target::Stored;
            }
            due.commands = true;
            due.tunnel = true;
        });
    }

    /// A device was assigned something; what is not at hand is read when it is sent.
    pub(crate) fn target(&self, device: Uuid, told: Option<Told>) {
        self.add(device, |due| {
            due.target = told.map_or(Target::Stored, Target::Told);
        });
    }

    /// A device was asked to do something.
    pub(crate) fn command(&self, device: Uuid) {
        self.add(device, |due| due.commands = true);
    }

    /// A device is to be told of its tunnel.
    pub(crate) fn tunnel(&self, device: Uuid) {
        self.add(device, |due| due.tunnel = true);
    }

    /// A device lacks this version of the trust root.
    pub(crate) fn root(&self, device: Uuid, version: u32) {
        self.add(device, |due| due.root = Some(version));
    }

    fn add(&self, device: Uuid, change: impl FnOnce(&mut Due)) {
        change(
            self.waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(device)
                .or_default(),
        );
        self.bell.notify_one();
    }

    fn take(&self) -> HashMap<Uuid, Due> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends what is due, until the server stops.
pub(crate) async fn run(app: App) {
    use futures_util::{StreamExt, stream};
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.outbox.bell.notified() => {}
        }
        let due = app.outbox.take();
        let serve = |(device, due)| {
            let app = app.clone();
            async move {
                let Some(known) = app.roster.find(&device) else {
                    return;
                };
                if let Err(failure) = send(&app, &known, due).await {
                    tracing::warn!(%device, cause = failure.text(), "a message waits until the device connects again");
                }
            }
        };
        stream::iter(due).for_each_concurrent(TOGETHER, serve).await;
    }
}

async fn send(app: &App, known: &Known, due: Due) -> Answer<()> {
    let uuid = known.uuid.to_string();
    if let Some(version) = due.root
        && let Some(document) = db::roots::find(&app.db, &known.fleet(), version).await?
    {
        let down = Down::Root(SignedRoot {
            document: Blob::Raw(&document),
        });
        publish(app.bus(), &down, topic(&known.uuid, "down"), false, None).await;
    }
    match due.target {
        Target::Nothing => {}
        // Another fleet's director may have been faster since; the newest counter is known here first.
        Target::Told(told) if told.counter == known.head().borrow().counter => {
            target(app, known, &told.assignment, &told.release).await;
        }
        Target::Told(_) | Target::Stored => {
            if let Some(stored) = db::assignments::find(&app.db, &uuid).await? {
                target(app, known, &stored.assignment, &stored.release).await;
            }
        }
    }
    if due.tunnel
        && known.head().borrow().tunnel > 0
        && let Some(tunnel) = app.owed_tunnel(&known.uuid).await?
    {
        let (down, topic) = (Down::Tunnel(tunnel), topic(&known.uuid, "down"));
        // A device that is away is told when it is back.
        publish(app.bus(), &down, topic, false, Some(EXPIRY_S)).await;
    }
    if due.commands {
        for pending in db::commands::pending(&app.db, &uuid, 0).await? {
            let left_ms = pending.created_at_ms + db::commands::LIFE_MS - clock::now_ms();
            let down = Down::Command(Command {
                id: pending.id,
                order: pending.order,
            });
            let expiry_s = u32::try_from(left_ms / 1000).unwrap_or(1).max(1);
            publish(
                app.bus(),
                &down,
                topic(&known.uuid, "down"),
                false,
                Some(expiry_s),
            )
            .await;
        }
    }
    Ok(())
}

async fn target(app: &App, known: &Known, assignment: &[u8], release: &[u8]) {
    let (assignment, release) = (Blob::Raw(assignment), Blob::Raw(release));
    let down = Down::Target(SignedTarget {
        assignment,
        release,
    });
    publish(app.bus(), &down, topic(&known.uuid, "target"), true, None).await;
}

async fn publish(
    bus: &dyn Bus,
    down: &Down<'_>,
    topic: String,
    retain: bool,
    expiry_s: Option<u32>,
) {
    let mut out = vec![0; lightship_core::limits::MESSAGE_BYTES];
    match wire::encode(down, &mut out) {
        Ok(payload) => {
            bus.send(Message {
                topic,
                payload: payload.to_vec(),
                retain,
                expiry_s,
                correlation: None,
            })
            .await
        }
        Err(rejection) => tracing::error!(%topic, %rejection, "a message does not fit"),
    }
}
