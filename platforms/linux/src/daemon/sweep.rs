//! Removes what no release needs any more, when nothing else is going on.
//!
//! What is staged is protected by its record in the store. What was fetched and is not staged yet has only its digests, so they are kept here until it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lightship_core::id::Digest as CoreDigest;
use lightship_core::target::Component;
use lightship_core::{Failure, Note};
use lightship_driver::Task;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::store::Digest;

/// How long nothing may have happened.
const QUIET: Duration = Duration::from_secs(20);
/// Fetched components that are remembered; more than any release has.
const FETCHED: usize = 128;

/// What is needed, and whether there may be something that is not. Clones are handles of the same one.
#[derive(Clone, Default)]
pub(super) struct Needs(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By instance: artifact, spec and settings.
    fetched: BTreeMap<CoreDigest, Vec<Digest>>,
    /// Steps that may read or write images.
    under_way: usize,
    is_due: bool,
}

impl Needs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step begins; whether it is one that matters here.
    pub(super) fn begin(&self, task: &Task<'_>) -> bool {
        let mut state = self.lock();
        match task {
            Task::Probe(_) | Task::TakeInventory => return false,
            Task::Fetch(component) if state.fetched.len() < FETCHED => {
                state
                    .fetched
                    .insert(component.instance(), digests(component));
            }
            // It is staged, or it is to go.
            Task::Start(component) => drop(state.fetched.remove(&component.instance())),
            Task::Remove(instance) => drop(state.fetched.remove(&instance.instance)),
            Task::Fetch(_) | Task::Stage(_) | Task::Confirm(_) | Task::Stop(_) => {}
        }
        state.under_way += 1;
        true
    }

    /// A step has ended, or was given up.
    pub(super) fn end(&self, result: Result<(), Failure>) {
        let mut state = self.lock();
        state.under_way = state.under_way.saturating_sub(1);
        state.is_due |= result == Err(Failure::NoSpace);
    }

    /// What happened may have left something behind.
    pub(super) fn note(&self, note: &Note) {
        if matches!(
            note,
            Note::Committed(_) | Note::Rejected { .. } | Note::Reverted
        ) {
            self.lock().is_due = true;
        }
    }

    /// What must stay, if it is time to remove all else.
    fn keep(&self) -> Option<Vec<Digest>> {
        let mut state = self.lock();
        if !state.is_due || state.under_way > 0 {
            return None;
        }
        state.is_due = false;
        Some(state.fetched.values().flatten().copied().collect())
    }
}

fn digests(component: &Component) -> Vec<Digest> {
    let settings = component.settings.iter();
    let all = [&component.artifact.digest, &component.spec].into_iter();
    all.chain(settings)
        .map(|digest| Digest::from_bytes(digest.0))
        .collect()
}

/// Sweeps for ever; poll it beside the driver. `stirred` says that something has happened.
pub(super) async fn sweep<E: Engine>(
    engine: Option<Arc<E>>,
    needs: Needs,
    mut stirred: watch::Receiver<()>,
) -> std::convert::Infallible {
    let Some(engine) = engine else {
        return std::future::pending().await;
    };
    loop {
        if stirred.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        while let Ok(Ok(())) = tokio::time::timeout(QUIET, stirred.changed()).await {}
        let Some(keep) = needs.keep() else {
            continue;
        };
        match engine.collect(&keep).await {
            Ok(()) => tracing::info!("what no release needs was removed"),
            Err(error) => tracing::warn!(%error, "what no release needs was not all removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use lightship_core::target::{Artifact, Health, Kind, Mode, Strategy};

    use super::*;

    fn component(n: u8) -> Component {
        Component {
            name: "web".parse().unwrap(),
            kind: Kind::Container,
            artifact: Artifact {
                digest: CoreDigest([n; 32]),
                size: 1,
            },
            spec: CoreDigest([n + 1; 32]),
            settings: Some(CoreDigest([n + 2; 32])),
            mode: Mode::Service,
            strategy: Strategy::default(),
            health: Health::default(),
            after: Default::default(),
        }
    }

    #[test]
    fn what_is_fetched_is_kept_until_it_is_started() {
        let (needs, wanted) = (Needs::default(), component(1));
        needs.note(&Note::Reverted);
        assert!(needs.begin(&Task::Fetch(&wanted)));
        assert_eq!(needs.keep(), None, "something is under way");
        needs.end(Ok(()));
        let kept = [1, 2, 3].map(|n| Digest::from_bytes([n; 32]));
        assert_eq!(needs.keep().as_deref(), Some(&kept[..]));
        assert_eq!(needs.keep(), None, "nothing is due");
        assert!(needs.begin(&Task::Start(&wanted)));
        needs.end(Err(Failure::NoSpace));
        assert_eq!(needs.keep().as_deref(), Some(&[][..]));
    }
}
