//! Handshake times of a board, whose clock may be wrong after a loss of power: a [`TimeFloor`] that several tunnels share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::clock::{RESERVE_S, TimeFloor};
use crate::engine::{Now, Ticks};

/// Times for handshakes that only rise, over restarts of the device too. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct HandshakeClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// What was stored before this start.
    stored_s: u64,
    floor: Mutex<TimeFloor>,
}

fn wall_s() -> u64 {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    wall.unwrap_or_default().as_secs()
}

impl HandshakeClock {
    /// Starts from what is stored. Store the returned value **before** a tunnel is opened; it is what the next start gets.
    pub fn boot(stored_s: u64) -> (Self, u64) {
        let (floor, end_s) = TimeFloor::boot(Ticks::ZERO, stored_s);
        let inner = Inner {
            started: Instant::now(),
            stored_s,
            floor: Mutex::new(floor),
        };
        (Self(Arc::new(inner)), end_s)
    }

    /// Compares with the system's clock. Returns the value to store, if it rises; say [`stored`](Self::stored) then. Ask every hour or so, and before a tunnel is opened.
    pub fn look(&self) -> Option<u64> {
        let now = self.ticks();
        let mut floor = self.lock();
        floor.learn(now, wall_s()).or_else(|| floor.due(now))
    }

    /// That value is stored.
    pub fn stored(&self, end_s: u64) {
        self.lock().stored(end_s);
    }

    /// Whether the system's clock is earlier than handshakes before this start: tunnels that use it would be refused.
    pub fn is_system_behind(&self) -> bool {
        // What was stored last was the system's time and the reserve, where the system had the time.
        wall_s() < self.0.stored_s.saturating_sub(RESERVE_S)
    }

    /// The time for a tunnel whose own ticks are these.
    pub(super) fn at(&self, ticks: Ticks) -> Now {
        let now = self.lock().now(self.ticks());
        Now::new(ticks.nanos(), now.unix_secs, now.unix_nanos)
    }

    fn ticks(&self) -> Ticks {
        let nanos = self.0.started.elapsed().as_nanos();
        Ticks::ZERO.add_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, TimeFloor> {
        self.0.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_right_is_followed_once_that_is_stored() {
        let (clock, end_s) = HandshakeClock::boot(1_000_000);
        assert_eq!(end_s, 1_000_000 + RESERVE_S);
        assert!(!clock.is_system_behind());
        let stored_s = clock.look().expect("the system's clock is later");
        assert!(clock.at(Ticks::ZERO).unix_secs < end_s);
        clock.stored(stored_s);
        assert_eq!(clock.look().map(|end_s| end_s <= stored_s + 5), Some(true));
        assert!(wall_s().abs_diff(clock.at(Ticks::ZERO).unix_secs) < 5);
    }

    #[test]
    fn a_clock_that_lost_its_time_is_noticed() {
        let tomorrow_s = wall_s() + 24 * 3600;
        let (clock, _) = HandshakeClock::boot(tomorrow_s);
        assert!(clock.is_system_behind());
        assert_eq!(clock.look(), None);
        assert!(clock.at(Ticks::ZERO).unix_secs >= tomorrow_s);
    }
}
