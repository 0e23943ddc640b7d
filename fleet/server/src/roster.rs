//! Every registered device, in memory: who it is, and whether there is news for it.
//!
//! A device that asks for its target every few minutes must cost nothing while nothing changes:
//! its credential and the numbers of what it could be told are here, and the database is asked
//! only when there is something to say. What is here is changed after the database was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lightship_api::{Name, Transport};
use lightship_core::id::Uuid;
use tokio::sync::watch;

use crate::clock;
use crate::secret::Secrets;

/// A device counts as online for so long after it was last heard of over HTTPS.
const ONLINE_MS: i64 = 120_000;

/// All registered devices.
#[derive(Default)]
pub(crate) struct Roster(RwLock<HashMap<Uuid, Arc<Known>>>);

/// One registered device.
pub(crate) struct Known {
    pub(crate) uuid: Uuid,
    state: Mutex<State>,
    head: watch::Sender<Head>,
    last_seen_ms: AtomicI64,
    links: AtomicI64,
}

struct State {
    fleet: Name,
    api_key: String,
    next_api_key: Option<String>,
}

/// The numbers of what a device could be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The counter of its newest assignment.
    pub(crate) counter: u64,
    /// The newest version of its fleet's trust root.
    pub(crate) root: u32,
    /// Its newest command.
    pub(crate) command: u64,
    /// What it has to be told of its tunnel; 0 is nothing.
    pub(crate) tunnel: u32,
}

/// What a shown key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The key in use.
    Current,
    /// The one that was proposed; using it retires the other.
    Next,
    /// Neither.
    Wrong,
}

/// What the database holds of a device's credentials.
pub(crate) struct Credentials {
    pub(crate) uuid: Uuid,
    pub(crate) fleet: Name,
    pub(crate) api_key: String,
    pub(crate) next_api_key: Option<String>,
    pub(crate) head: Head,
}

impl Roster {
    /// Takes a device in, or replaces what was known of it; who waits for news goes on waiting.
    pub(crate) fn put(&self, device: Credentials) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let state = State {
            fleet: device.fleet,
            api_key: device.api_key,
            next_api_key: device.next_api_key,
        };
        if let Some(known) = all.get(&device.uuid) {
            *known.state() = state;
            known.raise(device.head);
            return;
        }
        let known = Known {
            uuid: device.uuid,
            state: Mutex::new(state),
            head: watch::Sender::new(device.head),
            last_seen_ms: AtomicI64::new(0),
            links: AtomicI64::new(0),
        };
        all.insert(device.uuid, Arc::new(known));
    }

    /// Forgets a device.
    pub(crate) fn remove(&self, uuid: &Uuid) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uuid);
    }

    /// A device, if it is registered.
    pub(crate) fn find(&self, uuid: &Uuid) -> Option<Arc<Known>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uuid)
            .cloned()
    }

    /// The devices of one fleet.
    pub(crate) fn of_fleet(&self, fleet: &Name) -> Vec<Arc<Known>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.values()
            .filter(|known| known.state().fleet == *fleet)
            .cloned()
            .collect()
    }

    /// When devices were last heard of, as far as the database has not been told.
    pub(crate) fn heard(&self) -> Vec<(Uuid, i64)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let seen = all
            .values()
            .map(|known| (known.uuid, known.last_seen_ms.load(Ordering::Relaxed)));
        seen.filter(|(_, at)| *at > 0).collect()
    }
}

impl Known {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fleet it belongs to.
    pub(crate) fn fleet(&self) -> Name {
        self.state().fleet.clone()
    }

    /// What a shown key is; takes the same time for each.
    pub(crate) fn judge(&self, secrets: &Secrets, key: &str) -> Shown {
        let state = self.state();
        let current = secrets.matches(key, &state.api_key);
        let next = state
            .next_api_key
            .as_ref()
            .is_some_and(|next| secrets.matches(key, next));
        match (current, next) {
            (true, _) => Shown::Current,
            (false, true) => Shown::Next,
            (false, false) => Shown::Wrong,
        }
    }

    /// Accepts another key beside the one in use.
    pub(crate) fn propose(&self, hash: String) {
        self.state().next_api_key = Some(hash);
    }

    /// The proposed key was used: the old one is good for nothing any more.
    pub(crate) fn retire(&self) {
        let mut state = self.state();
        if let Some(next) = state.next_api_key.take() {
            state.api_key = next;
        }
    }

    /// The device belongs to another fleet now.
    pub(crate) fn move_to(&self, fleet: Name) {
        self.state().fleet = fleet;
    }

    /// There is news; each number only rises, but that of the tunnel, which is as it is.
    pub(crate) fn raise(&self, head: Head) {
        self.head.send_if_modified(|old| {
            let new = Head {
                counter: old.counter.max(head.counter),
                root: old.root.max(head.root),
                command: old.command.max(head.command),
                tunnel: old.tunnel,
            };
            std::mem::replace(old, new) != new
        });
    }

    /// Notes what the device has to be told of its tunnel; 0 when it has used all of it.
    pub(crate) fn owe(&self, tunnel: u32) {
        self.head
            .send_if_modified(|head| std::mem::replace(&mut head.tunnel, tunnel) != tunnel);
    }

    /// What there is now, and word of when it changes.
    pub(crate) fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// The device was heard of.
    pub(crate) fn seen(&self) {
        self.last_seen_ms.store(clock::now_ms(), Ordering::Relaxed);
    }

    /// When it was last heard of since the server started.
    pub(crate) fn last_seen_ms(&self) -> Option<i64> {
        Some(self.last_seen_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// A connection of the device came or went; says whether that made it come or go.
    pub(crate) fn linked(&self, came: bool) -> bool {
        self.seen();
        let before = self
            .links
            .fetch_add(if came { 1 } else { -1 }, Ordering::Relaxed);
        if came { before == 0 } else { before == 1 }
    }

    /// Whether the device is connected, or was heard of a moment ago.
    pub(crate) fn is_online(&self) -> bool {
        self.transport().is_some()
    }

    /// What carries the device's messages, if it is connected or was heard of a moment ago.
    pub(crate) fn transport(&self) -> Option<Transport> {
        if self.links.load(Ordering::Relaxed) > 0 {
            return Some(Transport::Mqtt);
        }
        let recent = self
            .last_seen_ms()
            .is_some_and(|at| clock::now_ms() - at < ONLINE_MS);
        recent.then_some(Transport::Https)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_key_is_good_until_the_new_one_was_used() {
        let (roster, secrets) = (Roster::default(), Secrets::new(&[1; 32]));
        let uuid = Uuid::from_random([7; 16]);
        let (fleet, api_key) = ("harbour".parse().unwrap(), secrets.hash("old"));
        roster.put(Credentials {
            uuid,
            fleet,
            api_key,
            next_api_key: None,
            head: Head::default(),
        });
        let known = roster.find(&uuid).unwrap();
        known.propose(secrets.hash("new"));
        assert_eq!(known.judge(&secrets, "old"), Shown::Current);
        assert_eq!(known.judge(&secrets, "new"), Shown::Next);
        known.retire();
        assert_eq!(known.judge(&secrets, "old"), Shown::Wrong);
        assert_eq!(known.judge(&secrets, "new"), Shown::Current);
    }

    #[test]
    fn the_numbers_of_a_device_only_rise() {
        let roster = Roster::default();
        let uuid = Uuid::from_random([7; 16]);
        let head = Head {
            counter: 5,
            root: 1,
            command: 0,
            tunnel: 0,
        };
        roster.put(Credentials {
            uuid,
            fleet: "a".parse().unwrap(),
            api_key: String::new(),
            next_api_key: None,
            head,
        });
        let known = roster.find(&uuid).unwrap();
        known.raise(Head {
            counter: 4,
            root: 2,
            command: 0,
            tunnel: 0,
        });
        assert_eq!(
            *known.head().borrow(),
            Head {
                counter: 5,
                root: 2,
                command: 0,
                tunnel: 0,
            }
        );
    }
}
