//! Which keys the interface has, and what the age of its last handshake says about them.
//!
//! The interface of a system has one set of keys at a time, so the pending ones and the current ones take turns until one of them works.
//! Pure: the time is an argument.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wireguard_control::PeerInfo;

use super::super::{KeySet, LinkNote};

/// How long new keys may take to work before the old ones are used again.
const TRIAL: Duration = Duration::from_secs(16);

/// How long after the old keys worked the new ones are tried again.
const RETRY: Duration = Duration::from_secs(600);

/// An initiator that is kept alive does a handshake every two minutes and tries for one and a half before it gives up; what lies between two keep-alives comes on top.
const SILENT: Duration = Duration::from_secs(190);

pub(super) struct State {
    pub(super) current: KeySet,
    pub(super) pending: Option<KeySet>,
    pub(super) hub: SocketAddr,
    pub(super) trial: Trial,
    pub(super) reachable: Option<bool>,
    /// The interface has the keys and the address that it is to have; applying them forgets earlier handshakes.
    pub(super) applied: bool,
    /// Counts up whenever it is given keys.
    pub(super) times_applied: u64,
    /// What the interface said last.
    pub(super) seen: Option<PeerInfo>,
    /// Packets that it had dropped then.
    pub(super) dropped: u64,
}

/// Which keys the interface has.
#[derive(Clone, Copy)]
pub(super) enum Trial {
    /// The pending ones, since then.
    Pending(Instant),
    /// The current ones, since then.
    Current(Instant),
}

impl State {
    pub(super) fn new(
        current: KeySet,
        pending: Option<KeySet>,
        hub: SocketAddr,
        now: Instant,
    ) -> Self {
        let trial = if pending.is_some() {
            Trial::Pending(now)
        } else {
            Trial::Current(now)
        };
        Self {
            current,
            pending,
            hub,
            trial,
            reachable: None,
            applied: false,
            times_applied: 0,
            seen: None,
            dropped: 0,
        }
    }

    /// The keys that the interface is to have now.
    pub(super) fn keys(&self) -> &KeySet {
        match (self.trial, &self.pending) {
            (Trial::Pending(_), Some(pending)) => pending,
            (Trial::Pending(_) | Trial::Current(_), _) => &self.current,
        }
    }

    /// Nothing changes soon.
    pub(super) fn settled(&self) -> bool {
        self.pending.is_none() && self.reachable == Some(true)
    }

    /// What the age of the last handshake with the present keys means, where `patience` may lie between two keep-alives. Returns whether the interface needs other keys.
    pub(super) fn judge(
        &mut self,
        last: Option<Duration>,
        patience: Duration,
        now: Instant,
        notes: &mut Vec<LinkNote>,
    ) -> bool {
        let silent = SILENT + patience;
        let since = match self.trial {
            Trial::Pending(since) | Trial::Current(since) => now.saturating_duration_since(since),
        };
        let works = last.is_some_and(|age| age < silent);
        let reachable = works || self.reachable == Some(true) && since < silent;
        if (works || since >= silent) && self.reachable != Some(reachable) {
            self.reachable = Some(reachable);
            notes.push(if reachable {
                LinkNote::Reachable
            } else {
                LinkNote::Unreachable
            });
        }
        match (self.trial, works) {
            (Trial::Pending(_), true) => {
                self.trial = Trial::Current(now);
                if let Some(keys) = self.pending.take() {
                    self.current = keys;
                    notes.push(LinkNote::KeysConfirmed);
                }
                false
            }
            (Trial::Pending(_), false) if since >= TRIAL => {
                self.trial = Trial::Current(now);
                true
            }
            (Trial::Current(_), works)
                if self.pending.is_some() && since >= if works { RETRY } else { TRIAL } =>
            {
                self.trial = Trial::Pending(now);
                true
            }
            (Trial::Pending(_) | Trial::Current(_), true | false) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::keys::{PresharedKey, SecretKey};

    const LOOK: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(25);

    fn keys(n: u8) -> KeySet {
        let hub = SecretKey([9; 32]).public();
        KeySet {
            secret: SecretKey([n; 32]),
            hub,
            preshared: PresharedKey::default(),
        }
    }

    fn state(now: Instant, pending: Option<KeySet>) -> State {
        State::new(keys(1), pending, (Ipv4Addr::LOCALHOST, 1).into(), now)
    }

    #[test]
    fn a_handshake_confirms_the_pending_keys() {
        let now = Instant::now();
        let mut state = state(now, Some(keys(2)));
        let mut notes = Vec::new();
        assert!(!state.judge(None, PATIENCE, now + LOOK, &mut notes) && notes.is_empty());
        assert!(!state.judge(Some(Duration::ZERO), PATIENCE, now + 2 * LOOK, &mut notes));
        assert_eq!(notes, [LinkNote::Reachable, LinkNote::KeysConfirmed]);
        assert_eq!((&state.current, &state.pending), (&keys(2), &None));
    }

    #[test]
    fn keys_that_do_not_work_take_turns_with_the_old_ones() {
        let now = Instant::now();
        let mut state = state(now, Some(keys(2)));
        let mut notes = Vec::new();
        assert!(!state.judge(None, PATIENCE, now + TRIAL / 2, &mut notes));
        assert!(
            state.judge(None, PATIENCE, now + TRIAL, &mut notes),
            "the old keys get their turn"
        );
        assert!(
            !state.judge(Some(Duration::ZERO), PATIENCE, now + TRIAL * 3, &mut notes),
            "and are kept while they work"
        );
        assert!(
            state.judge(
                Some(Duration::ZERO),
                PATIENCE,
                now + TRIAL + RETRY,
                &mut notes
            ),
            "for a while"
        );
        assert_eq!(notes, [LinkNote::Reachable]);
        assert_eq!((&state.current, &state.pending), (&keys(1), &Some(keys(2))));
    }

    #[test]
    fn a_hub_that_does_not_answer_is_noted_once() {
        let now = Instant::now();
        let silent = SILENT + PATIENCE;
        let mut state = state(now, None);
        let mut notes = Vec::new();
        state.judge(Some(Duration::ZERO), PATIENCE, now + LOOK, &mut notes);
        state.judge(Some(silent / 2), PATIENCE, now + silent / 2, &mut notes);
        assert_eq!(notes, [LinkNote::Reachable]);
        state.judge(Some(silent), PATIENCE, now + silent * 2, &mut notes);
        state.judge(Some(silent * 2), PATIENCE, now + silent * 3, &mut notes);
        assert_eq!(notes, [LinkNote::Reachable, LinkNote::Unreachable]);
    }
}
