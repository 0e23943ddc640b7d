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

/// An initiator that is kept alive does a handshake every two minutes and tries for one and a half before it gives up.
const SILENT: Duration = Duration::from_secs(215);

pub(super) struct State {
    pub(super) current: KeySet,
    pub(super) pending: Option<KeySet>,
    pub(super) hub: SocketAddr,
    pub(super) trial: Trial,
    pub(super) reachable: Option<bool>,
    /// The interface has the keys and the address that it is to have; applying them forgets earlier handshakes.
    pub(super) applied: bool,
    /// What the interface said last.
    pub(super) seen: Option<PeerInfo>,
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
            seen: None,
        }
    }

    /// Nothing changes soon.
    pub(super) fn settled(&self) -> bool {
        self.pending.is_none() && self.reachable == Some(true)
    }

    /// What the age of the last handshake with the present keys means. Returns whether the interface needs other keys.
    pub(super) fn judge(
        &mut self,
        last: Option<Duration>,
        now: Instant,
        notes: &mut Vec<LinkNote>,
    ) -> bool {
        let since = match self.trial {
            Trial::Pending(since) | Trial::Current(since) => now.saturating_duration_since(since),
        };
        let works = last.is_some_and(|age| age < SILENT);
        let reachable = works || self.reachable == Some(true) && since < SILENT;
        if (works || since >= SILENT) && self.reachable != Some(reachable) {
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
        assert!(!state.judge(None, now + LOOK, &mut notes) && notes.is_empty());
        assert!(!state.judge(Some(Duration::ZERO), now + 2 * LOOK, &mut notes));
        assert_eq!(notes, [LinkNote::Reachable, LinkNote::KeysConfirmed]);
        assert_eq!((&state.current, &state.pending), (&keys(2), &None));
    }

    #[test]
    fn keys_that_do_not_work_take_turns_with_the_old_ones() {
        let now = Instant::now();
        let mut state = state(now, Some(keys(2)));
        let mut notes = Vec::new();
        assert!(!state.judge(None, now + TRIAL / 2, &mut notes));
        assert!(
            state.judge(None, now + TRIAL, &mut notes),
            "the old keys get their turn"
        );
        assert!(
            !state.judge(Some(Duration::ZERO), now + TRIAL * 3, &mut notes),
            "and are kept while they work"
        );
        assert!(
            state.judge(Some(Duration::ZERO), now + TRIAL + RETRY, &mut notes),
            "for a while"
        );
        assert_eq!(notes, [LinkNote::Reachable]);
        assert_eq!((&state.current, &state.pending), (&keys(1), &Some(keys(2))));
    }

    #[test]
    fn a_hub_that_does_not_answer_is_noted_once() {
        let now = Instant::now();
        let mut state = state(now, None);
        let mut notes = Vec::new();
        state.judge(Some(Duration::ZERO), now + LOOK, &mut notes);
        state.judge(Some(SILENT / 2), now + SILENT / 2, &mut notes);
        assert_eq!(notes, [LinkNote::Reachable]);
        state.judge(Some(SILENT), now + SILENT * 2, &mut notes);
        state.judge(Some(SILENT * 2), now + SILENT * 3, &mut notes);
        assert_eq!(notes, [LinkNote::Reachable, LinkNote::Unreachable]);
    }
}
