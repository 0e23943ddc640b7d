//! Tells of changes that nobody asked for: events of the engine, and tests that the daemon does itself.
//!
//! An event only says that something may have changed; what is told is a difference of presence.
//! Docker and podman name their events differently, so the names are not read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Inner, instance_of};
use crate::engine::{Error, Instance, Presence};
use crate::store::InstanceId;

/// The pause before the events are asked for again after the connection broke.
const RECONNECT: Duration = Duration::from_secs(1);

/// After a connection or an event everything is looked at once more, so much later: what happened before the
/// engine listened to us, or was told before it was so.
const SETTLE: Duration = Duration::from_secs(2);

/// Everything is looked at so often even without events: they are no promise.
const LOOK: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Watch {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    /// What was last seen of each instance.
    seen: HashMap<InstanceId, Presence>,
    /// Instances that changed and were not told of yet, each once.
    changed: Vec<Instance>,
    /// What our own tests found.
    probed: HashMap<InstanceId, Presence>,
    probes: HashMap<InstanceId, AbortHandle>,
    /// Who brings the output of which instance.
    followers: HashMap<InstanceId, AbortHandle>,
    watcher: Option<AbortHandle>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state
            .watcher
            .iter()
            .chain(state.probes.values())
            .chain(state.followers.values())
            .for_each(AbortHandle::abort);
    }
}

impl Watch {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch; ends with the engine.
    pub(super) fn begin(&self, inner: &Arc<Inner>) {
        let weak = Arc::downgrade(inner);
        let docker = inner.docker.clone();
        let task = tokio::spawn(async move {
            // Podman does not carry labels in its events, so they are no filter.
            let filters = HashMap::from([("type", vec!["container".to_owned()])]);
            let options = EventsOptionsBuilder::default().filters(&filters).build();
            loop {
                let mut events = docker.events(Some(options.clone()));
                let mut pause = SETTLE;
                while let Some(is_event) = next_or_look(&mut events, pause).await {
                    look(&weak).await;
                    pause = if is_event { SETTLE } else { LOOK };
                }
                tokio::time::sleep(RECONNECT).await;
            }
        });
        self.state().watcher = Some(task.abort_handle());
    }

    /// The next instance that changed.
    pub(super) async fn next(&self) -> Result<Instance, Error> {
        loop {
            let news = self.news.notified();
            if let Some(instance) = self.take() {
                return Ok(instance);
            }
            news.await;
        }
    }

    fn take(&self) -> Option<Instance> {
        let mut state = self.state();
        (!state.changed.is_empty()).then(|| state.changed.remove(0))
    }

    /// Notes what was seen, and tells when it is another thing than before.
    fn see(&self, id: InstanceId, instance: Instance, presence: Presence) {
        let mut state = self.state();
        let before = state.seen.insert(id, presence);
        let is_news = before.is_some_and(|before| before != presence);
        if is_news && !state.changed.contains(&instance) {
            state.changed.push(instance);
            drop(state);
            self.news.notify_one();
        }
    }

    /// Notes that an instance was started, so that whatever comes of it is a change.
    pub(super) fn started(&self, id: InstanceId) {
        self.state().seen.insert(id, Presence::Starting);
    }

    /// What our own test of a running container found last.
    pub(super) fn probed(&self, id: InstanceId) -> Presence {
        self.state()
            .probed
            .get(&id)
            .copied()
            .unwrap_or(Presence::Starting)
    }

    /// Notes what our own test found; says whether it is news.
    pub(super) fn set_probed(&self, id: InstanceId, presence: Presence) -> bool {
        self.state().probed.insert(id, presence) != Some(presence)
    }

    /// Begins a test in place of one that runs already.
    pub(super) fn begin_probe(&self, id: InstanceId, task: AbortHandle) {
        if let Some(before) = self.state().probes.insert(id, task) {
            before.abort();
        }
    }

    pub(super) fn is_followed(&self, id: InstanceId) -> bool {
        let state = self.state();
        state
            .followers
            .get(&id)
            .is_some_and(|task| !task.is_finished())
    }

    pub(super) fn follow(&self, id: InstanceId, task: AbortHandle) {
        self.state().followers.insert(id, task);
    }

    pub(super) fn end_follow(&self, id: InstanceId) {
        if let Some(task) = self.state().followers.remove(&id) {
            task.abort();
        }
    }

    pub(super) fn end_probe(&self, id: InstanceId) {
        let mut state = self.state();
        state.probed.remove(&id);
        if let Some(task) = state.probes.remove(&id) {
            task.abort();
        }
    }
}

/// Waits for an event, but no longer than `pause`: whether there was one; nothing when no more can come.
async fn next_or_look<S, T, E>(events: &mut S, pause: Duration) -> Option<bool>
where
    S: futures_util::Stream<Item = Result<T, E>> + Unpin,
{
    match tokio::time::timeout(pause, events.next()).await {
        Ok(Some(Ok(_))) => Some(true),
        Ok(Some(Err(_)) | None) => None,
        Err(_) => Some(false),
    }
}

/// Looks at every instance.
pub(super) async fn look(inner: &Weak<Inner>) {
    let Some(inner) = inner.upgrade() else {
        return;
    };
    let Ok(records) = inner.records().await else {
        return;
    };
    for record in records {
        if let Ok(presence) = inner.presence(&record).await {
            inner.watch.see(record.id(), instance_of(&record), presence);
        }
    }
}
