//! Two pre-shared keys where an interface takes one: they take turns until a handshake shows that the device has the new one.
//!
//! Which one a handshake was made with is not told, only when it was completed. So a handshake counts when the new key had been in force for so long that no answer made with the old one could still be under way.
//! A wrong guess would shut a device out for good, a late one costs nothing: sessions that stand do not care.

use std::time::{Duration, Instant};

/// How long each key is in force: a device tries each of its own for 16 s and sends an initiation every five, so one of them meets its match.
const TURN: Duration = Duration::from_secs(10);

/// An initiation is given up after 5.3 s, and with it every answer to it that is still under way; the rest is for a slow link.
const CERTAIN: Duration = Duration::from_secs(8);

/// How long the new key stays after a handshake that could have been either's: until the next one is due, after two minutes.
const HOLD: Duration = Duration::from_secs(150);

/// Whose turn it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    new: bool,
    since: Instant,
    held: bool,
}

impl Turn {
    /// The old key's.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            new: false,
            since: now,
            held: false,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.new
    }

    /// A handshake was completed later than `after`. Returns whether it was made with the new key, beyond doubt.
    pub(super) fn proves(&mut self, after: Option<Instant>) -> bool {
        if !self.new {
            return false;
        }
        let proved =
            after.is_some_and(|after| after.saturating_duration_since(self.since) >= CERTAIN);
        self.held = !proved;
        proved
    }

    /// Changes sides when it is time. Returns whether it did.
    pub(super) fn ends(&mut self, now: Instant) -> bool {
        let length = if self.held { HOLD } else { TURN };
        if now.saturating_duration_since(self.since) < length {
            return false;
        }
        *self = Self {
            new: !self.new,
            since: now,
            held: false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_keys_take_turns() {
        let start = Instant::now();
        let mut turn = Turn::new(start);
        assert!(!turn.ends(start + TURN - SECOND) && !turn.is_new());
        assert!(turn.ends(start + TURN) && turn.is_new());
        assert!(turn.ends(start + 2 * TURN) && !turn.is_new());
    }

    #[test]
    fn a_handshake_in_the_old_keys_turn_proves_nothing() {
        let start = Instant::now();
        let mut turn = Turn::new(start);
        assert!(!turn.proves(Some(start + CERTAIN)));
        assert!(turn.ends(start + TURN), "and holds nothing up");
    }

    #[test]
    fn a_handshake_soon_after_the_change_holds_the_new_key_until_the_next_one_proves_it() {
        let start = Instant::now();
        let mut turn = Turn::new(start);
        assert!(turn.ends(start + TURN));
        let new = start + TURN;
        assert!(!turn.proves(Some(new + SECOND)) && !turn.proves(None));
        assert!(!turn.ends(new + TURN), "it is held");
        assert!(turn.proves(Some(new + 120 * SECOND)));
    }

    #[test]
    fn a_device_that_has_only_the_old_key_gets_it_again_after_a_doubtful_handshake() {
        let start = Instant::now();
        let mut turn = Turn::new(start);
        assert!(turn.ends(start + TURN));
        assert!(!turn.proves(Some(start + TURN)));
        assert!(turn.ends(start + TURN + HOLD) && !turn.is_new());
    }
}
