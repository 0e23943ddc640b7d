//! One director a fleet: told of what became true, and obeyed.
//!
//! What it decides is stored before anybody hears of it, many decisions in one transaction.
//! When something cannot be stored, the director is thrown away and made again from what is;
//! the same happens at each start, so nothing decided is ever lost and no counter ever falls.

mod decided;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lightship_api::{Name, ReleaseState};
use lightship_core::time::UnixTime;
use lightship_director as director;
use lightship_director::{Director, Event, Note, Progressed, Refusal, Step};
use tokio::sync::{mpsc, oneshot};

use crate::http::failure::{Answer, Failure};
use crate::{App, clock, db, release};

/// Questions that wait for one director.
const QUEUE: usize = 1024;
/// Questions taken together, so that their decisions share a transaction.
const TOGETHER: usize = 256;
/// Decisions of one transaction.
const DECISIONS: usize = 512;
/// How long to wait before a fleet is read again that could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// The directors of all fleets.
#[derive(Default)]
pub(crate) struct Directors(Mutex<HashMap<Name, mpsc::Sender<Ask>>>);

/// What a director is asked.
enum Ask {
    Tell(Event, oneshot::Sender<Result<(), Refusal>>),
    Told(Event),
    Progress(u64, oneshot::Sender<Option<Progressed>>),
}

/// Why a director's work ended.
enum End {
    /// Nobody asks any more, or the server stops.
    Done,
    /// Something could not be stored.
    Restore(Failure),
}

impl App {
    /// Tells a fleet's director and waits until what follows from it is stored.
    pub(crate) async fn tell(&self, fleet: &Name, event: Event) -> Answer<()> {
        let (reply, answer) = oneshot::channel();
        self.ask(fleet, Ask::Tell(event, reply)).await?;
        let told = answer
            .await
            .map_err(|_| Failure::unavailable("the fleet's director was restarted; try again"))?;
        told.map_err(|refusal| Failure::conflict(refusal.to_string()))
    }

    /// Tells a fleet's director something that is stored already, and does not wait.
    pub(crate) async fn told(&self, fleet: &Name, event: Event) {
        // Not told, it learns of it when it is made again: what is told is in the database.
        let _ = self.ask(fleet, Ask::Told(event)).await;
    }

    /// How far a roll-out is.
    pub(crate) async fn progress(&self, fleet: &Name, release: u64) -> Answer<Option<Progressed>> {
        let (reply, answer) = oneshot::channel();
        self.ask(fleet, Ask::Progress(release, reply)).await?;
        answer
            .await
            .map_err(|_| Failure::unavailable("the fleet's director was restarted; try again"))
    }

    /// Starts the directors of all fleets, for their timers run without being asked.
    pub(crate) async fn start_directors(&self) -> Result<(), db::Error> {
        for fleet in db::fleets::list(&self.db, "", i64::MAX).await? {
            self.director(&fleet.name);
        }
        Ok(())
    }

    /// Ends the director of a fleet that is no more.
    pub(crate) fn end_director(&self, fleet: &Name) {
        self.directors
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(fleet);
    }

    async fn ask(&self, fleet: &Name, ask: Ask) -> Answer<()> {
        let sent = self.director(fleet).send(ask).await;
        sent.map_err(|_| Failure::unavailable("the server is stopping"))
    }

    fn director(&self, fleet: &Name) -> mpsc::Sender<Ask> {
        let mut all = self
            .directors
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let asks = all.entry(fleet.clone()).or_insert_with(|| {
            let (sender, asks) = mpsc::channel(QUEUE);
            tokio::spawn(run(self.clone(), fleet.clone(), asks));
            sender
        });
        asks.clone()
    }
}

async fn run(app: App, fleet: Name, mut asks: mpsc::Receiver<Ask>) {
    loop {
        let end = match restore(&app, &fleet).await {
            Ok(mut director) => tend(&app, &fleet, &mut director, &mut asks).await,
            Err(error) => End::Restore(error.into()),
        };
        let End::Restore(cause) = end else { return };
        tracing::warn!(%fleet, cause = cause.text(), "making the director again");
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// A director that knows what is stored.
async fn restore(app: &App, fleet: &Name) -> Result<Director, db::Error> {
    let mut saved = director::Saved {
        fleet: fleet_facts(app, fleet).await?,
        ..director::Saved::default()
    };
    let specs = crate::specs::Specs::of(app, fleet);
    for stored in db::releases::list(&app.db, fleet).await? {
        let facts = release_facts(&specs, &stored).await;
        saved.releases.push((stored.number, facts, stored.progress));
    }
    saved.devices = db::devices::saved(&app.db, fleet).await?;
    for (uuid, variable) in db::variables::of_devices(&app.db, fleet).await? {
        let device = saved
            .devices
            .iter_mut()
            .find(|device| device.uuid.to_text().as_str() == uuid);
        if let Some(device) = device {
            set(&mut device.device.variables, &variable);
        }
    }
    Ok(Director::restore(saved, now()))
}

/// What holds for a whole fleet.
pub(crate) async fn fleet_facts(app: &App, fleet: &Name) -> Result<director::Fleet, db::Error> {
    let mut facts = director::Fleet::default();
    let Some(stored) = db::fleets::find(&app.db, fleet).await? else {
        return Ok(facts);
    };
    facts.policy = match stored.policy {
        lightship_api::Policy::Latest => director::Policy::Latest,
        lightship_api::Policy::Pinned { release } => director::Policy::Pinned(release),
    };
    let windows = stored
        .windows
        .iter()
        .filter_map(|window| window.parse().ok());
    // What does not parse was refused when it was set.
    facts.windows = windows.collect();
    facts.zone = stored.zone.parse().unwrap_or_default();
    if let Some(root) = db::roots::newest(&app.db, fleet).await? {
        facts.floor = release::root(&root).map_or(0, |root| root.floor);
    }
    for variable in db::variables::list(&app.db, db::variables::Of { fleet, device: "" }).await? {
        set(&mut facts.variables, &variable);
    }
    Ok(facts)
}

/// What the director is told of a release.
pub(crate) async fn release_facts(
    specs: &crate::specs::Specs<'_>,
    stored: &db::releases::Stored,
) -> director::Release {
    let mut documents = std::collections::BTreeMap::new();
    for document in stored.documents.values() {
        // What does not read was refused when it was uploaded.
        if let Some((head, document)) = specs.document(document).await {
            documents.insert(head.device_type, document);
        }
    }
    let state = match stored.state {
        ReleaseState::Draft => director::ReleaseState::Draft,
        ReleaseState::Final => director::ReleaseState::Final,
        ReleaseState::Invalid => director::ReleaseState::Invalid,
    };
    director::Release {
        state,
        documents,
        rollout: stored.plan.clone(),
    }
}

/// What the director is told of a device, its variables included.
pub(crate) async fn device_facts(
    app: &App,
    fleet: &Name,
    uuid: &str,
) -> Result<Option<director::Device>, db::Error> {
    let Some(mut saved) = db::devices::saved_one(&app.db, uuid).await? else {
        return Ok(None);
    };
    for variable in db::variables::list(
        &app.db,
        db::variables::Of {
            fleet,
            device: uuid,
        },
    )
    .await?
    {
        set(&mut saved.device.variables, &variable);
    }
    Ok(Some(saved.device))
}

fn set(variables: &mut director::Variables, variable: &lightship_api::Variable) {
    let kind = match variable.kind {
        lightship_api::VariableKind::Environment => director::VariableKind::Environment,
        lightship_api::VariableKind::Configuration => director::VariableKind::Configuration,
    };
    // What is no name of a service was refused when it was set.
    let service = variable
        .service
        .as_deref()
        .and_then(|service| service.parse().ok());
    variables.set(kind, service, variable.name.clone(), variable.value.clone());
}

/// The present, as the director counts it.
pub(crate) fn now() -> UnixTime {
    UnixTime(u64::try_from(clock::now_ms() / 1000).unwrap_or_default())
}

async fn tend(
    app: &App,
    fleet: &Name,
    director: &mut Director,
    asks: &mut mpsc::Receiver<Ask>,
) -> End {
    let mut told = Vec::new();
    loop {
        let until = match obey(app, fleet, director).await {
            Ok(until) => until,
            Err(failure) => return End::Restore(failure),
        };
        for (reply, answer) in told.drain(..) {
            // Whoever asked may have gone away.
            let _: Result<(), Result<(), Refusal>> = oneshot::Sender::send(reply, answer);
        }
        let mut batch = Vec::new();
        tokio::select! {
            () = app.stop.cancelled() => return End::Done,
            () = sleep_until(until) => { let _ = director.handle(now(), Event::Tick); }
            count = asks.recv_many(&mut batch, TOGETHER) => if count == 0 { return End::Done },
        }
        for ask in batch {
            match ask {
                Ask::Tell(event, reply) => told.push((reply, director.handle(now(), event))),
                Ask::Told(event) => {
                    if let Err(refusal) = director.handle(now(), event) {
                        tracing::warn!(%fleet, %refusal, "the director refused a fact");
                    }
                }
                Ask::Progress(release, reply) => {
                    let _: Result<(), _> = reply.send(director.rollout(release));
                }
            }
        }
    }
}

async fn sleep_until(until: Option<UnixTime>) {
    match until {
        None => std::future::pending().await,
        // At least a second: a deadline that is due and does nothing must not spin.
        Some(until) => {
            tokio::time::sleep(Duration::from_secs(until.0.saturating_sub(now().0).max(1))).await
        }
    }
}

/// Does what the director says until it has nothing to say.
async fn obey(app: &App, fleet: &Name, director: &mut Director) -> Answer<Option<UnixTime>> {
    let mut decisions = Vec::new();
    loop {
        let wait = match director.poll() {
            Step::Decide(decision) => {
                decisions.push(decision);
                None
            }
            Step::Note(note) => {
                say(fleet, &note);
                None
            }
            Step::Wait { until } => Some(until),
        };
        if decisions.len() >= DECISIONS || (wait.is_some() && !decisions.is_empty()) {
            decided::carry_out(app, fleet, std::mem::take(&mut decisions)).await?;
        }
        if let Some(until) = wait {
            return Ok(until);
        }
    }
}

fn say(fleet: &Name, note: &Note) {
    match note {
        Note::CounterBehind { .. } | Note::Halted { .. } | Note::Withdrawn { .. } => {
            tracing::warn!(%fleet, ?note, "director")
        }
        Note::Withheld { .. }
        | Note::WaveOpened { .. }
        | Note::Soaking { .. }
        | Note::Completed { .. } => {
            tracing::info!(%fleet, ?note, "director");
        }
    }
}
