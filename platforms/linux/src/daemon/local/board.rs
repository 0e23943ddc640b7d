//! What is known of the agent without asking it: its notes, and what it saved.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use lightship_core::Note;
use lightship_core::record::{Identity, Record, Saved, State, decode};
use lightship_core::target::Target;
use serde::{Deserialize, Serialize};

use super::locks::now_ms;
use crate::daemon::run::COMPONENTS;
use crate::engine::{Instance, Presence};

/// Notes that are kept.
const NOTES: usize = 50;

/// A note with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Seconds since 1970, as far as the device knows.
    pub(crate) at: u64,
    pub(crate) note: String,
}

/// How the device is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) is_up: bool,
    /// Why it is not.
    pub(crate) failure: Option<String>,
    /// When it is tried again, in milliseconds from now.
    pub(crate) retry_in_ms: Option<u64>,
}

/// A release, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) digest: String,
    pub(crate) version: String,
}

/// A component of a release, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) release: String,
    pub(crate) artifact: String,
    pub(crate) state: String,
}

/// What the device runs and tries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Releases {
    pub(crate) committed: Option<Release>,
    pub(crate) trial: Option<Release>,
    /// Whether what ran before may have been disturbed by the trial.
    pub(crate) trial_started: bool,
    pub(crate) rejected: Option<String>,
    pub(crate) rejected_for: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    notes: VecDeque<Line>,
    connection: Connection,
    retry_at_ms: Option<u64>,
    identity: Option<Identity>,
    state: State<COMPONENTS>,
}

impl Board {
    /// With what was saved in earlier lives.
    pub(crate) fn new(saved: &Saved<'_>) -> Self {
        let board = Self::default();
        board.saved(Record::Identity, saved.identity.unwrap_or_default());
        board.saved(Record::State, saved.state.unwrap_or_default());
        board
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what the agent said.
    pub(crate) fn note(&self, note: &Note) {
        let mut inner = self.inner();
        match note {
            Note::Connected => {
                inner.connection = Connection {
                    is_up: true,
                    ..Connection::default()
                };
                inner.retry_at_ms = None;
            }
            Note::Disconnected { failure, retry_at } => {
                let failure = Some(format!("{failure:?}"));
                inner.connection = Connection {
                    failure,
                    ..Connection::default()
                };
                inner.retry_at_ms = Some(retry_at.as_millis());
            }
            // The others change nothing of the connection.
            _ => {}
        }
        if inner.notes.len() == NOTES {
            inner.notes.pop_front();
        }
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let note = format!("{note:?}");
        inner.notes.push_back(Line { at, note });
    }

    /// Takes note of what the agent saved.
    pub(crate) fn saved(&self, record: Record, bytes: &[u8]) {
        let mut inner = self.inner();
        match record {
            Record::Identity => {
                if let Ok(identity) = decode::<Identity>(bytes) {
                    inner.identity = Some(identity);
                }
            }
            Record::State => {
                if let Ok(state) = decode::<State<COMPONENTS>>(bytes) {
                    inner.state = state;
                }
            }
            Record::Trust | Record::Clock => {}
        }
    }

    /// The device's name for life, once it has one.
    pub(crate) fn uuid(&self) -> Option<lightship_core::id::Uuid> {
        self.inner().identity.as_ref().map(|identity| identity.uuid)
    }

    /// Whether the fleet has confirmed the registration.
    pub(crate) fn is_registered(&self) -> bool {
        self.inner()
            .identity
            .as_ref()
            .is_some_and(|identity| identity.registered)
    }

    pub(crate) fn connection(&self) -> Connection {
        let inner = self.inner();
        let left = inner.retry_at_ms.map(|at| at.saturating_sub(now_ms()));
        Connection {
            retry_in_ms: left,
            ..inner.connection.clone()
        }
    }

    /// The notes, the latest last.
    pub(crate) fn notes(&self) -> Vec<Line> {
        self.inner().notes.iter().cloned().collect()
    }

    pub(crate) fn releases(&self) -> Releases {
        let inner = self.inner();
        let trial = inner.state.trial.as_ref();
        Releases {
            committed: inner.state.committed.as_ref().map(release),
            trial: trial.map(|trial| release(&trial.target)),
            trial_started: trial.is_some_and(|trial| trial.started),
            rejected: inner
                .state
                .rejected
                .map(|rejected| rejected.release.to_string()),
            rejected_for: inner
                .state
                .rejected
                .map(|rejected| format!("{:?}", rejected.reason)),
        }
    }

    /// The components of the release that is tried, and of the committed one; as they were found.
    pub(crate) fn components(&self, found: &[(Instance, Presence)]) -> Vec<Component> {
        let inner = self.inner();
        let trial = inner
            .state
            .trial
            .as_ref()
            .map(|trial| ("trial", &trial.target));
        let committed = inner
            .state
            .committed
            .as_ref()
            .map(|target| ("committed", target));
        let same = |(_, a): &(&str, &Target<COMPONENTS>), (_, b): &(&str, &Target<COMPONENTS>)| {
            a.id == b.id
        };
        let trial = trial.filter(|trial| {
            committed
                .as_ref()
                .is_none_or(|committed| !same(trial, committed))
        });
        let mut all = Vec::new();
        for (release, target) in committed.into_iter().chain(trial) {
            for part in &target.parts {
                let component = &part.component;
                let is_it = |(instance, _): &&(Instance, Presence)| {
                    instance.name == component.name.as_str()
                        && *instance.digest.as_bytes() == part.instance.0
                };
                let presence = found.iter().find(is_it).map(|(_, presence)| *presence);
                all.push(Component {
                    name: component.name.to_string(),
                    release: release.to_owned(),
                    artifact: component.artifact.digest.to_string(),
                    state: word(presence.unwrap_or(Presence::Missing)).to_owned(),
                });
            }
        }
        all
    }
}

fn release(target: &Target<COMPONENTS>) -> Release {
    Release {
        digest: target.release.to_string(),
        version: target.version.to_string(),
    }
}

/// A presence in a word.
pub(super) const fn word(presence: Presence) -> &'static str {
    match presence {
        Presence::Missing => "missing",
        Presence::Staged => "staged",
        Presence::Starting => "starting",
        Presence::Healthy => "healthy",
        Presence::Unhealthy => "unhealthy",
        Presence::Exited => "exited",
        Presence::Completed => "completed",
    }
}

#[cfg(test)]
mod tests {
    use lightship_core::Failure;
    use lightship_core::time::Instant;

    use super::*;

    #[test]
    fn notes_are_bounded_and_tell_of_the_connection() {
        let board = Board::new(&Saved::default());
        for _ in 0..2 * NOTES {
            board.note(&Note::Registered);
        }
        assert_eq!(board.notes().len(), NOTES);
        board.note(&Note::Connected);
        assert!(board.connection().is_up);
        let retry_at = Instant::from_millis(now_ms() + 60_000);
        board.note(&Note::Disconnected {
            failure: Failure::Network,
            retry_at,
        });
        let connection = board.connection();
        assert_eq!(connection.failure.as_deref(), Some("Network"));
        assert!(connection.retry_in_ms.is_some_and(|ms| ms > 50_000));
    }
}
