//! Builds of projects: some at a time, others wait, each bounded in size and time.
//!
//! What is asked for and how it ends is in the database, and so is the log: it is read from there
//! by whoever follows, from any line on. What a build works on is in a folder of its own, which is
//! gone when it ends. A build that the server did not live to see the end of has failed: the next
//! start says so, and it is asked for again. Images are put into the registry as if they had been
//! pushed; nothing is signed here.

mod journal;
mod work;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lightship_api::{BuildState, BuiltImage, Event, Name, NewBuild};
use lightship_builder::Cancel;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Builder;
use crate::db::{self, Entry};
use crate::http::caller::Caller;
use crate::http::failure::{Answer, Failure};
use crate::{App, folder, secret};
use journal::Journal;

/// The builds of this server.
pub(crate) struct Builds {
    folder: PathBuf,
    /// Which server this is, among those on one database.
    pub(crate) server: String,
    /// Those that wait or are being built.
    going: Mutex<HashMap<(Name, u64), CancellationToken>>,
    places: Semaphore,
    at_once: u32,
    most: usize,
    /// Counts whatever is new in any log or state.
    news: watch::Sender<u64>,
}

/// Why there are no images.
pub(crate) enum Ended {
    /// Somebody cancelled it, or the server stops.
    Cancelled,
    /// Something is wrong with it.
    Failed(String),
}

impl Builds {
    /// Below the data folder; what a server that was killed left there is cleared away.
    pub(crate) fn open(data: &Path, config: &Builder) -> std::io::Result<Self> {
        let path = data.join("builds");
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        folder::make(&path)?;
        let server = folder::keep(&data.join("server.id"), || secret::new_id().into_bytes())?;
        Ok(Self {
            folder: path,
            server: String::from_utf8_lossy(&server).into_owned(),
            going: Mutex::default(),
            places: Semaphore::new(config.at_once as usize),
            at_once: config.at_once,
            most: config.at_once as usize + config.waiting as usize,
            news: watch::Sender::new(0),
        })
    }

    /// Word of when there may be more to read of a build.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// There may be more to read.
    pub(crate) fn tell(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn going(&self) -> std::sync::MutexGuard<'_, HashMap<(Name, u64), CancellationToken>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a build that goes on here.
    pub(crate) fn cancel(&self, fleet: &Name, number: u64) {
        if let Some(token) = self.going().get(&(fleet.clone(), number)) {
            token.cancel();
        }
    }
}

impl App {
    /// Takes a build in; it is begun when there is a place.
    pub(crate) async fn build(
        &self,
        caller: &Caller,
        fleet: &Name,
        request: NewBuild,
    ) -> Answer<u64> {
        if self.builds.going().len() >= self.builds.most {
            return Err(Failure::unavailable(
                "as many builds wait as may; try again when one has ended",
            ));
        }
        let mut tx = self.db.write().await?;
        let number =
            db::builds::insert(&mut tx, fleet, &self.builds.server, &request, &caller.user).await?;
        let (by, subject) = (caller.by(), number.to_string());
        tx.record(Entry {
            by: &by,
            fleet: Some(fleet),
            what: "build.created",
            subject: &subject,
            detail: request.project.clone(),
        })
        .await?;
        tx.commit().await?;
        let token = self.stop.child_token();
        let key = (fleet.clone(), number);
        self.builds.going().insert(key.clone(), token.clone());
        let app = self.clone();
        tokio::spawn(async move {
            run(&app, &key.0, number, request, token).await;
            app.builds.going().remove(&key);
            app.builds.tell();
        });
        Ok(number)
    }

    /// Ends a build, wherever it goes on.
    pub(crate) async fn cancel_build(
        &self,
        caller: &Caller,
        fleet: &Name,
        number: u64,
    ) -> Answer<()> {
        let mut tx = self.db.write().await?;
        let end = db::builds::End {
            state: BuildState::Cancelled,
            error: None,
            images: &[],
        };
        if !db::builds::end(&mut tx, fleet, number, &end).await? {
            return Err(Failure::conflict("the build has ended already"));
        }
        let (by, subject) = (caller.by(), number.to_string());
        tx.record(Entry {
            by: &by,
            fleet: Some(fleet),
            what: "build.cancelled",
            subject: &subject,
            detail: String::new(),
        })
        .await?;
        tx.commit().await?;
        self.builds.cancel(fleet, number);
        self.build_went_on(fleet, number);
        Ok(())
    }

    /// Says of builds that the server before this one left behind that they failed.
    pub(crate) async fn fail_left_behind(&self) -> Result<(), db::Error> {
        for (fleet, number) in db::builds::left_behind(&self.db).await? {
            let mut tx = self.db.write().await?;
            let end = db::builds::End {
                state: BuildState::Failed,
                error: Some("the server was stopped while it was built; push again"),
                images: &[],
            };
            db::builds::end(&mut tx, &fleet, number, &end).await?;
            tx.commit().await?;
            self.build_went_on(&fleet, number);
        }
        Ok(())
    }

    /// Tells whoever follows a build that there is more.
    fn build_went_on(&self, fleet: &Name, build: u64) {
        self.builds.tell();
        self.happened(fleet, Event::Build { build });
    }
}

/// Waits until no build goes on any more; the server is told to stop, and that ends them.
pub(crate) async fn wind_up(app: App) {
    app.stop.cancelled().await;
    // Held by builds that go on; none is begun after the stop.
    let _all = app.builds.places.acquire_many(app.builds.at_once).await;
}

async fn run(app: &App, fleet: &Name, number: u64, request: NewBuild, token: CancellationToken) {
    let journal = Arc::new(Journal::default());
    let ended = tokio::select! {
        () = token.cancelled() => Err(Ended::Cancelled),
        place = app.builds.places.acquire() => match place {
            Ok(_place) => in_turn(app, fleet, number, request, &token, &journal).await,
            Err(_) => Err(Ended::Cancelled),
        },
    };
    let stored = store_end(app, fleet, number, ended).await;
    if let Err(failure) = stored {
        tracing::error!(%fleet, number, cause = failure.text(), "storing how a build ended");
    }
    app.build_went_on(fleet, number);
}

/// Builds, while what is said is stored, and not for longer than it may take.
async fn in_turn(
    app: &App,
    fleet: &Name,
    number: u64,
    request: NewBuild,
    token: &CancellationToken,
    journal: &Arc<Journal>,
) -> Result<Vec<BuiltImage>, Ended> {
    let begun = async {
        let mut tx = app.db.write().await?;
        db::builds::begin(&mut tx, fleet, number).await?;
        tx.commit().await
    };
    begun
        .await
        .map_err(|error| Ended::Failed(error.to_string()))?;
    app.build_went_on(fleet, number);
    let (cancel, halt) = (Cancel::default(), CancellationToken::new());
    let limit = Duration::from_secs(app.config.builder.seconds.into());
    let folder = app.builds.folder.join(format!("{fleet}-{number}"));
    let job = work::Job {
        app,
        fleet,
        request: &request,
        folder: &folder,
        cancel: &cancel,
        halt: &halt,
        journal,
    };
    let work = async {
        let mut work = std::pin::pin!(job.run());
        let given_up = tokio::select! {
            ended = &mut work => return ended,
            () = token.cancelled() => Ended::Cancelled,
            () = tokio::time::sleep(limit) => {
                Ended::Failed(format!("the build took longer than {} seconds", limit.as_secs()))
            }
        };
        cancel.cancel();
        halt.cancel();
        // It ends soon, and leaves nothing behind that it still writes to.
        let _ = work.await;
        Err(given_up)
    };
    let ended = journal.kept_while(app, fleet, number, work).await;
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %folder.display(), "a build's folder stays until the next start");
    }
    ended
}

async fn store_end(
    app: &App,
    fleet: &Name,
    number: u64,
    ended: Result<Vec<BuiltImage>, Ended>,
) -> Answer<()> {
    let stopping = app.stop.is_cancelled();
    let end = match &ended {
        Ok(images) => db::builds::End {
            state: BuildState::Done,
            error: None,
            images,
        },
        Err(Ended::Cancelled) if stopping => db::builds::End {
            state: BuildState::Failed,
            error: Some("the server was stopped while it was built; push again"),
            images: &[],
        },
        Err(Ended::Cancelled) => db::builds::End {
            state: BuildState::Cancelled,
            error: None,
            images: &[],
        },
        Err(Ended::Failed(why)) => db::builds::End {
            state: BuildState::Failed,
            error: Some(why),
            images: &[],
        },
    };
    let mut tx = app.db.write().await?;
    // Whoever cancelled it has said so already.
    db::builds::end(&mut tx, fleet, number, &end).await?;
    Ok(tx.commit().await?)
}
