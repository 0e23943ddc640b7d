//! What a director decided becomes true: it is signed, stored in one transaction, and only then told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lightship_api::{Event, Name};
use lightship_core::id::Uuid;
use lightship_core::trust::Offence;
use lightship_director::{Assigned, Decision, Filled, Progress, Record};

use crate::bus::Told;
use crate::db::assignments::New;
use crate::http::failure::{Answer, Failure};
use crate::roster::Head;
use crate::signer::Signer;
use crate::{App, db};

/// Assignments that are signed one after the other: fewer are not worth a thread.
const SIGNED_TOGETHER: usize = 64;

/// What follows from decisions; the last one about a device takes the place of those before.
#[derive(Default)]
struct Outcome {
    records: BTreeMap<Uuid, Record>,
    /// Who is to be told, with what is filled in.
    assigned: BTreeMap<Uuid, Vec<Filled>>,
    progress: BTreeMap<u64, Progress>,
}

/// Signed release documents, by the digest of what is signed.
type Documents = HashMap<String, Arc<[u8]>>;

/// Stores decisions, then tells the devices.
pub(super) async fn carry_out(app: &App, fleet: &Name, decisions: Vec<Decision>) -> Answer<()> {
    let mut outcome = Outcome::of(decisions);
    let news = sign(app, &mut outcome).await?;
    let documents = documents(app, fleet, &news).await?;
    store(app, fleet, &outcome, &news).await?;
    for release in outcome.progress.into_keys() {
        // Nobody listening is no failure.
        let _ = app.events.send((fleet.clone(), Event::Rollout { release }));
    }
    for new in news {
        tell(app, fleet, new, &documents);
    }
    Ok(())
}

impl Outcome {
    fn of(decisions: Vec<Decision>) -> Self {
        let mut outcome = Self::default();
        for decision in decisions {
            match decision {
                Decision::Assign {
                    device,
                    record,
                    settings,
                } => {
                    outcome.records.insert(device, record);
                    outcome.assigned.insert(device, settings);
                }
                Decision::Remember { device, record } => {
                    outcome.records.insert(device, record);
                }
                Decision::Rollout { release, progress } => {
                    outcome.progress.insert(release, progress);
                }
            }
        }
        outcome
    }

    /// Who is told what, ready to be signed.
    fn due(&mut self) -> Vec<(Uuid, Assigned, Vec<Filled>)> {
        let assigned = std::mem::take(&mut self.assigned).into_iter();
        let due = assigned.filter_map(|(device, settings)| {
            let assigned = self.records.get(&device)?.assigned.clone()?;
            Some((device, assigned, settings))
        });
        due.collect()
    }
}

/// Signs on as many threads as the machine has: nothing else of a roll-out takes a processor for as long.
async fn sign(app: &App, outcome: &mut Outcome) -> Answer<Vec<New>> {
    let mut due = outcome.due().into_iter().peekable();
    let mut parts = Vec::new();
    while due.peek().is_some() {
        let part: Vec<_> = due.by_ref().take(SIGNED_TOGETHER).collect();
        let app = app.clone();
        parts.push(tokio::task::spawn_blocking(move || {
            let new =
                |(device, assigned, settings)| signed(&app.signer, device, assigned, settings);
            part.into_iter().map(new).collect::<Result<Vec<_>, _>>()
        }));
    }
    let mut news = Vec::new();
    for part in parts {
        let part = part.await.map_err(Failure::internal)?;
        news.extend(part.map_err(|offence| Failure::internal(format!("{offence:?}")))?);
    }
    Ok(news)
}

fn signed(
    signer: &Signer,
    device: Uuid,
    assigned: Assigned,
    settings: Vec<Filled>,
) -> Result<New, Offence> {
    Ok(New {
        device,
        counter: assigned.counter,
        release: assigned.release,
        document: signer.assignment(device, &assigned)?,
        digest: assigned.document.to_string(),
        settings,
    })
}

/// The release documents that the assignments name; there are few, one for each device type.
async fn documents(app: &App, fleet: &Name, news: &[New]) -> Answer<Documents> {
    let mut documents = Documents::new();
    for new in news {
        if !documents.contains_key(&new.digest)
            && let Some(document) = db::releases::document(&app.db, fleet, &new.digest).await?
        {
            documents.insert(new.digest.clone(), document.into());
        }
    }
    Ok(documents)
}

async fn store(app: &App, fleet: &Name, outcome: &Outcome, news: &[New]) -> Answer<()> {
    let mut tx = app.db.write().await?;
    let records = outcome.records.iter();
    let records: Vec<_> = records.map(|(device, record)| (*device, record)).collect();
    db::devices::set_records(&mut tx, &records).await?;
    db::assignments::put(&mut tx, news).await?;
    for (release, progress) in &outcome.progress {
        db::releases::set_progress(&mut tx, fleet, *release, progress).await?;
    }
    Ok(tx.commit().await?)
}

fn tell(app: &App, fleet: &Name, new: New, documents: &Documents) {
    app.metrics.assignments.fetch_add(1, Ordering::Relaxed);
    let (device, release, counter) = (new.device, new.release, new.counter);
    if let Some(known) = app.roster.find(&device) {
        known.raise(Head {
            counter,
            ..Head::default()
        });
        let told = documents.get(&new.digest).map(|document| Told {
            counter,
            assignment: new.document,
            release: Arc::clone(document),
        });
        app.outbox.target(device, told);
    }
    let device = device.to_string();
    // Nobody listening is no failure.
    let _ = app
        .events
        .send((fleet.clone(), Event::Target { device, release }));
}
