//! The core's steps in the engine's words.

use std::sync::Arc;

use lightship_core::id::{Digest as CoreDigest, Name};
use lightship_core::plan::Presence as CorePresence;
use lightship_core::target::{Component as CoreComponent, Kind};
use lightship_core::{Failure, InstanceRef, StepId};
use lightship_driver::{Happening, Task};
use lightship_link::Blobs;
use tokio::sync::{Mutex, mpsc};

use super::documents;
use super::journal::Journal;
use super::shipping::Flush;
use crate::engine::{Component, Documents, Engine, Error, Instance, Presence, Reason};
use crate::store::Digest;

/// Where happenings are told.
pub(super) type Tell = mpsc::UnboundedSender<Happening>;

/// A step with everything it needs, free of the agent's borrow.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Fetch(CoreComponent),
    Stage(Component),
    Start(Instance),
    Confirm(Instance),
    Stop(Instance),
    Probe(Instance),
    Remove(Instance),
    TakeInventory,
    /// This platform has nothing that could do it.
    Impossible,
}

impl Job {
    pub(super) fn of(task: &Task<'_>) -> Self {
        let (kind, job) = match task {
            Task::Fetch(c) => (c.kind, Self::Fetch((*c).clone())),
            Task::Stage(c) => (c.kind, Self::Stage(component(c))),
            Task::Start(c) => (c.kind, Self::Start(component(c).instance)),
            Task::Confirm(c) => (c.kind, Self::Confirm(component(c).instance)),
            Task::Stop(i) => (i.kind, Self::Stop(instance(i))),
            Task::Probe(i) => (i.kind, Self::Probe(instance(i))),
            Task::Remove(i) => (i.kind, Self::Remove(instance(i))),
            Task::TakeInventory => (Kind::Container, Self::TakeInventory),
        };
        match kind {
            Kind::Container => job,
            Kind::Firmware | Kind::HostOs | Kind::Agent => Self::Impossible,
        }
    }
}

impl Job {
    /// Whom it concerns.
    fn name(&self) -> String {
        match self {
            Self::Fetch(component) => component.name.to_string(),
            Self::Stage(component) => component.instance.name.clone(),
            Self::Start(instance)
            | Self::Confirm(instance)
            | Self::Stop(instance)
            | Self::Probe(instance)
            | Self::Remove(instance) => instance.name.clone(),
            Self::TakeInventory | Self::Impossible => "engine".to_owned(),
        }
    }
}

fn digest(digest: &CoreDigest) -> Digest {
    Digest::from_bytes(digest.0)
}

fn instance(instance: &InstanceRef<'_>) -> Instance {
    Instance {
        name: instance.name.to_string(),
        digest: digest(&instance.instance),
    }
}

fn component(component: &CoreComponent) -> Component {
    Component {
        instance: Instance {
            name: component.name.to_string(),
            digest: digest(&component.instance()),
        },
        artifact: digest(&component.artifact.digest),
        spec: digest(&component.spec),
        settings: component.settings.as_ref().map(digest),
    }
}

/// Carries a step out and tells how it went.
pub(super) async fn carry_out<E: Engine, B: Blobs>(
    engine: Option<Arc<E>>,
    blobs: Arc<Mutex<B>>,
    id: StepId,
    job: Job,
    tell: Tell,
    flush: Flush,
    journal: Journal,
) {
    let Some(engine) = engine else {
        let _ = tell.send(Happening::Done(id, without_engine(&job)));
        return;
    };
    let name = job.name();
    let failure = |error| failure(&journal, &name, error);
    let result = match job {
        Job::Fetch(wanted) => match fetch(&*engine, &blobs, id, &wanted, &tell).await {
            Ok(fetched) => fetched.map_err(failure),
            Err(failure) => Err(failure),
        },
        Job::Stage(component) => engine.stage(&component).await.map_err(failure),
        Job::Start(instance) => engine.start(&instance).await.map_err(failure),
        Job::Confirm(instance) => engine.confirm(&instance).await.map_err(failure),
        Job::Stop(instance) => engine.stop(&instance).await.map_err(failure),
        Job::Remove(instance) => {
            // What it printed last says why it goes.
            flush.now().await;
            engine.remove(&instance).await.map_err(failure)
        }
        Job::Impossible => Err(Failure::Unusable),
        Job::TakeInventory => take_inventory(&*engine, &tell).await.map_err(failure),
        Job::Probe(instance) => {
            let presence = match engine.probe(&instance).await {
                Ok(presence) => self::presence(presence),
                Err(error) => {
                    tracing::warn!(component = instance.name, %error, "probing failed");
                    CorePresence::Unhealthy
                }
            };
            // The driver may have come to its end; then nobody asks any more.
            let _ = tell.send(Happening::Probed(id, presence));
            return;
        }
    };
    let _ = tell.send(Happening::Done(id, result));
}

/// A device without an engine holds nothing and can run nothing.
fn without_engine(job: &Job) -> Result<(), Failure> {
    match job {
        Job::TakeInventory | Job::Remove(_) | Job::Stop(_) => Ok(()),
        Job::Fetch(_)
        | Job::Stage(_)
        | Job::Start(_)
        | Job::Confirm(_)
        | Job::Probe(_)
        | Job::Impossible => Err(Failure::Unusable),
    }
}

/// The documents may fail to come; the engine answers then for all else.
async fn fetch<E: Engine, B: Blobs>(
    engine: &E,
    blobs: &Mutex<B>,
    id: StepId,
    wanted: &CoreComponent,
    tell: &Tell,
) -> Result<Result<(), Error>, Failure> {
    let (spec, settings) = {
        let mut blobs = blobs.lock().await;
        let spec = documents::read(&mut *blobs, &wanted.spec).await?;
        let settings = match &wanted.settings {
            Some(digest) => Some(documents::read(&mut *blobs, digest).await?),
            None => None,
        };
        (spec, settings)
    };
    let documents = Documents {
        spec: &spec,
        settings: settings.as_deref(),
    };
    let tell = tell.clone();
    let on_progress: crate::engine::OnProgress = Arc::new(move |progress| {
        let _ = tell.send(Happening::Progressed(id, progress.done_bytes));
    });
    let component = component(wanted);
    Ok(engine.fetch(&component, documents, on_progress).await)
}

async fn take_inventory<E: Engine>(engine: &E, tell: &Tell) -> Result<(), Error> {
    for (instance, presence) in engine.inventory().await? {
        // What this daemon did not stage has no name that the core could know.
        let Ok(name) = Name::new(&instance.name) else {
            continue;
        };
        let _ = tell.send(Happening::Found {
            name,
            instance: CoreDigest(*instance.digest.as_bytes()),
            kind: Kind::Container,
            presence: self::presence(presence),
        });
    }
    Ok(())
}

const fn presence(presence: Presence) -> CorePresence {
    match presence {
        Presence::Missing => CorePresence::Missing,
        Presence::Staged => CorePresence::Staged,
        Presence::Starting => CorePresence::Starting,
        Presence::Healthy => CorePresence::Healthy,
        Presence::Unhealthy => CorePresence::Unhealthy,
        Presence::Exited => CorePresence::Exited,
        Presence::Completed => CorePresence::Completed,
    }
}

/// What the core is told of an engine's error; the log and the fleet are told in full.
fn failure(journal: &Journal, component: &str, error: Error) -> Failure {
    tracing::warn!(component, %error, "a step failed");
    journal.write(&format!("{component}: {error}"));
    match error.reason() {
        Reason::NoSpace => Failure::NoSpace,
        Reason::ReadOnly | Reason::System => Failure::Storage,
        Reason::Network | Reason::NotFound | Reason::Unauthorised => Failure::Network,
        Reason::DigestMismatch | Reason::Absent => Failure::Corrupt,
        Reason::WrongArchitecture | Reason::BadImage | Reason::Refused => Failure::Unusable,
        Reason::Start => Failure::Broken,
    }
}
