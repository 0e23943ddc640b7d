//! Update locks: looks after them and tells the agent, which decides what they hold off.
//!
//! A lock is told as its service's, whichever way it was taken. The agent keeps few locks at once
//! ([`LOCKS`]): when more services hold one, the rest are told together as one that covers everything.

use std::collections::BTreeMap;
use std::fs;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lightship_core::id::Name;
use lightship_core::limits::LOCKS;
use lightship_core::time::Duration as Span;
use lightship_driver::Happening;
use rustix::fs::inotify;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::held::{self, Mark};
use super::services::Services;
use crate::daemon::steps::Tell;
use crate::engine::runtime::watch;
use crate::engine::{Engine, Instance};
use crate::store::InstanceId;

/// As the owner of what is told together.
const TOGETHER: &str = "applications";
/// Locks on files are not told of: while there are files, they are looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// A file that was opened is locked a moment later.
const SOON: Duration = Duration::from_millis(30);
/// Longest time for which a lock may be asked.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A lock that was taken by the local API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Milliseconds since boot at which it ends; absent means not by itself.
    pub(super) until_ms: Option<u64>,
    /// Whether it covers everything, not its service alone.
    pub(super) covers_all: bool,
    /// Which life of the service took it.
    life: u32,
}

/// A service that holds updates off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    pub(crate) service: String,
    pub(crate) covers_all: bool,
    /// Milliseconds since boot at which it ends by itself.
    #[serde(skip)]
    pub(crate) until_ms: Option<u64>,
    /// Whether a file holds it.
    pub(crate) by_file: bool,
    /// Whether the local API does.
    pub(crate) by_api: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Locks {
    services: Arc<Services>,
    state: Mutex<State>,
    poke: Notify,
    /// One looks at a time, so that nobody tells what was true a moment before.
    turn: tokio::sync::Mutex<()>,
    notices: Option<AsyncFd<fs::File>>,
}

#[derive(Debug, Default)]
struct State {
    held: Vec<Held>,
    memory: BTreeMap<InstanceId, Memory>,
    told: BTreeMap<Name, (Option<Name>, Option<u64>)>,
}

/// What was seen of a service when it was looked at last.
#[derive(Clone, Debug, Default)]
struct Memory {
    life: u32,
    there: Vec<(PathBuf, Mark)>,
    locked: Vec<PathBuf>,
}

impl Locks {
    /// Must be called within a tokio runtime with I/O.
    pub(crate) fn new(services: Arc<Services>) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let notices = inotify::init(flags).map_err(std::io::Error::from);
        let notices = notices.and_then(watch);
        if let Err(error) = &notices {
            tracing::warn!(%error, "lock files are seen up to a second late");
        }
        Self {
            services,
            state: Mutex::default(),
            poke: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            notices: notices.ok(),
        }
    }

    /// Something about a service changed: it ended, or was started again.
    pub(crate) fn poke(&self) {
        self.poke.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who holds updates off.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.state().held.clone()
    }

    /// Takes or renews a service's lock; nothing when no process of the service runs.
    pub(super) fn take(
        &self,
        id: InstanceId,
        life: Option<u32>,
        covers_all: bool,
        span: Option<Duration>,
    ) -> std::io::Result<Option<Asked>> {
        let Some(life) = life else { return Ok(None) };
        let until_ms = span.map(|span| now_ms() + span.as_millis() as u64);
        let asked = Asked {
            until_ms,
            covers_all,
            life,
        };
        let folder = self.services.run_of(id);
        let draft = folder.join("lock.new");
        // It lasts until the device restarts, so that the daemon may be replaced under it.
        fs::write(
            &draft,
            serde_json::to_vec(&asked).map_err(std::io::Error::other)?,
        )?;
        fs::rename(draft, folder.join("lock"))?;
        self.poke();
        Ok(Some(asked))
    }

    /// Lets a service's lock go.
    pub(super) fn release(&self, id: InstanceId) {
        let _ = fs::remove_file(self.services.run_of(id).join("lock"));
        self.poke();
    }

    /// Looks after all locks for ever.
    pub(crate) async fn watch<E: Engine>(&self, engine: Arc<E>, tell: Tell) {
        let mut soon = false;
        loop {
            let wait = self.look(&*engine, &tell).await;
            let wait = if soon {
                wait.map(|wait| wait.min(SOON))
            } else {
                wait
            };
            soon = false;
            tokio::select! {
                () = self.services.changed.notified() => {}
                () = self.poke.notified() => {}
                () = self.noticed() => soon = true,
                () = sleep(wait) => {}
            }
        }
    }

    /// Looks once; says when to look again, if nothing is heard before.
    pub(crate) async fn look<E: Engine>(&self, engine: &E, tell: &Tell) -> Option<Duration> {
        let _turn = self.turn.lock().await;
        // While nobody can say what runs, what was held stays so.
        let Ok(running) = engine.inventory().await else {
            return Some(LOOK);
        };
        let mut held = Vec::new();
        let mut memory = BTreeMap::new();
        let table = held::table();
        let mut again: Option<u64> = None;
        for (instance, _) in running {
            let id = InstanceId::of(&instance.name, &instance.digest);
            let Some(service) = self.services.all().remove(&id) else {
                continue;
            };
            self.listen(id);
            let life = engine.life(&instance).await;
            let before = self.state().memory.get(&id).cloned().unwrap_or_default();
            let Some(life) = life else {
                self.forget(id, &before);
                continue;
            };
            let (found, asked) = self.look_at(id, life, &before, &table);
            if !found.there.is_empty() {
                again = Some(LOOK.as_millis() as u64);
            }
            if found.holds || asked.is_some() {
                held.push(Held {
                    service: service.name,
                    covers_all: asked.is_some_and(|asked| asked.covers_all),
                    until_ms: asked
                        .and_then(|asked| asked.until_ms)
                        .filter(|_| !found.holds),
                    by_file: found.holds,
                    by_api: asked.is_some(),
                });
            }
            memory.insert(
                id,
                Memory {
                    life,
                    there: found.there,
                    locked: found.locked,
                },
            );
        }
        let end = held.iter().filter_map(|held| held.until_ms).min();
        again = again
            .into_iter()
            .chain(end.map(|end| end.saturating_sub(now_ms()) + 1))
            .min();
        let mut state = self.state();
        state.memory = memory;
        tell_of(&held, &mut state.told, tell);
        state.held = held;
        again.map(Duration::from_millis)
    }

    fn look_at(
        &self,
        id: InstanceId,
        life: u32,
        before: &Memory,
        table: &str,
    ) -> (held::Found, Option<Asked>) {
        let folders = self.services.lock_folders(id);
        if before.life != 0 && before.life != life {
            // What is the same file as in the life before was left by a process that is dead.
            let found = held::look(&folders, table, &[]);
            for stale in found
                .there
                .iter()
                .filter(|file| before.there.contains(file))
            {
                let _ = fs::remove_file(&stale.0);
            }
        }
        let locked: &[PathBuf] = if before.life == life {
            &before.locked
        } else {
            &[]
        };
        let found = held::look(&folders, table, locked);
        let bytes = fs::read(self.services.run_of(id).join("lock")).unwrap_or_default();
        let asked = serde_json::from_slice::<Asked>(&bytes).ok();
        let asked = asked
            .filter(|asked| asked.life == life && asked.until_ms.is_none_or(|end| end > now_ms()));
        (found, asked)
    }

    /// A service whose process is dead holds nothing.
    fn forget(&self, id: InstanceId, before: &Memory) {
        let folders = self.services.lock_folders(id);
        let left = held::look(&folders, "", &[]).there;
        for (path, _) in left.iter().chain(&before.there) {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_file(self.services.run_of(id).join("lock"));
    }

    fn listen(&self, id: InstanceId) {
        let Some(notices) = &self.notices else { return };
        let wanted = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVE
            | inotify::WatchFlags::OPEN
            | inotify::WatchFlags::CLOSE;
        for folder in self.services.lock_folders(id) {
            // Asking again for the same folder changes nothing; one that is gone is not listened to any more.
            let _ = inotify::add_watch(notices.get_ref(), folder, wanted);
        }
    }

    /// Waits until something happens in a folder of locks.
    async fn noticed(&self) {
        let Some(notices) = &self.notices else {
            return std::future::pending().await;
        };
        let Ok(mut ready) = notices.readable().await else {
            return std::future::pending().await;
        };
        // What happened does not matter: everything is looked at.
        let mut buffer = [0; 4096];
        while rustix::io::read(notices.get_ref(), &mut buffer).is_ok_and(|count| count > 0) {}
        ready.clear_ready();
    }
}

/// Tells the agent what is different from what it was told before.
fn tell_of(held: &[Held], told: &mut BTreeMap<Name, (Option<Name>, Option<u64>)>, tell: &Tell) {
    let wanted = wanted(held);
    // New ones first, so that at no moment anything is uncovered.
    for (owner, (covers, until_ms)) in &wanted {
        if told.get(owner) != Some(&(covers.clone(), *until_ms)) {
            let left = until_ms.map(|end| Span::from_millis(end.saturating_sub(now_ms())));
            let locked = Happening::Locked {
                owner: owner.clone(),
                covers: covers.clone(),
                expires_in: left,
            };
            let _ = tell.send(locked);
        }
    }
    for owner in told.keys().filter(|owner| !wanted.contains_key(*owner)) {
        let _ = tell.send(Happening::Unlocked(owner.clone()));
    }
    *told = wanted;
}

/// The locks as the agent is to have them. One place is kept for those that are told together.
fn wanted(held: &[Held]) -> BTreeMap<Name, (Option<Name>, Option<u64>)> {
    let mut by_service: BTreeMap<Name, (bool, Option<u64>)> = BTreeMap::new();
    for one in held {
        let Ok(name) = Name::new(&one.service) else {
            continue;
        };
        // Old and new of a hand-over are one service; the longer lock counts.
        let both = by_service
            .entry(name)
            .or_insert((one.covers_all, one.until_ms));
        both.0 |= one.covers_all;
        both.1 = both.1.zip(one.until_ms).map(|(a, b)| a.max(b));
    }
    let mut wanted = BTreeMap::new();
    let mut together: Option<Option<u64>> = None;
    for (name, (covers_all, until_ms)) in by_service {
        if wanted.len() < LOCKS - 1 {
            let covers = (!covers_all).then(|| name.clone());
            wanted.insert(name, (covers, until_ms));
        } else {
            let longest = |before: Option<u64>| before.zip(until_ms).map(|(a, b)| a.max(b));
            together = Some(together.map_or(until_ms, longest));
        }
    }
    if let (Some(until_ms), Ok(owner)) = (together, Name::new(TOGETHER)) {
        wanted.insert(owner, (None, until_ms));
    }
    wanted
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Milliseconds since boot.
pub(crate) fn now_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1000 + time.tv_nsec.unsigned_abs() / 1_000_000
}

/// The instance of an engine with this name in the store.
pub(super) fn of(id: InstanceId, all: &[(Instance, crate::engine::Presence)]) -> Option<Instance> {
    let same =
        |(instance, _): &&(Instance, _)| InstanceId::of(&instance.name, &instance.digest) == id;
    all.iter().find(same).map(|(instance, _)| instance.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(service: &str, covers_all: bool, until_ms: Option<u64>) -> Held {
        Held {
            service: service.to_owned(),
            covers_all,
            until_ms,
            by_file: false,
            by_api: true,
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_lock_covers_its_service_or_all() {
        let wanted = wanted(&[held("a", false, None), held("b", true, Some(5))]);
        assert_eq!(wanted[&name("a")], (Some(name("a")), None));
        assert_eq!(wanted[&name("b")], (None, Some(5)));
    }

    #[test]
    fn more_services_than_the_agent_keeps_locks_for_are_told_together() {
        let many: Vec<Held> = (0..10)
            .map(|i| held(&format!("s{i}"), false, Some(100 + i)))
            .collect();
        let wanted = wanted(&many);
        assert_eq!(wanted.len(), LOCKS);
        assert_eq!(wanted[&name(TOGETHER)], (None, Some(109)));
    }

    #[test]
    fn the_old_and_the_new_of_a_hand_over_hold_as_long_as_either() {
        let wanted = wanted(&[held("a", false, Some(5)), held("a", true, None)]);
        assert_eq!(wanted[&name("a")], (None, None));
    }

    #[test]
    fn the_agent_is_told_of_differences_and_of_new_locks_first() {
        let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let mut told = BTreeMap::new();
        tell_of(&[held("a", false, None)], &mut told, &tell);
        tell_of(&[held("a", false, None)], &mut told, &tell);
        tell_of(&[held("b", false, None)], &mut told, &tell);
        let mut seen = Vec::new();
        while let Ok(happening) = heard.try_recv() {
            seen.push(match happening {
                Happening::Locked { owner, .. } => format!("+{owner}"),
                Happening::Unlocked(owner) => format!("-{owner}"),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(seen, ["+a", "+b", "-a"]);
    }
}
