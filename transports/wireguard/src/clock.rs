//! Handshake times that only rise, on a device that has no clock (design.md, section 8).
//!
//! A WireGuard peer refuses a handshake whose time is not later than the last one's.
//! So a device without a clock stores a floor: at each start it claims the next stretch of time, stores its end, and only then sends its first handshake.
//! Whatever happens then, no start uses times that an earlier one may have used.

use wireguard_sans_io::{Now, Ticks};

/// Seconds that one store claims: four writes a day, and a reboot costs as much of the future, of which there is enough.
pub const RESERVE_S: u64 = 6 * 3600;

/// The wall clock of handshakes, made of a stored floor and, if one turns up, a real clock.
#[derive(Debug, Clone)]
pub struct TimeFloor {
    /// Seconds since 1970 at `since`.
    base_s: u64,
    since: Ticks,
    /// No time from here on may be used before a later end is stored.
    end_s: u64,
}

impl TimeFloor {
    /// Starts from what is stored; from the time the firmware was built when nothing is.
    ///
    /// Store the returned value **before** the first packet; it is what the next start gets.
    pub fn boot(now: Ticks, stored_s: u64) -> (Self, u64) {
        let end_s = stored_s.saturating_add(RESERVE_S);
        (
            Self {
                base_s: stored_s,
                since: now,
                end_s,
            },
            end_s,
        )
    }

    /// A clock says it is `unix_s`. One that says it is earlier is not believed. Returns the floor to store, if it rises.
    pub fn learn(&mut self, now: Ticks, unix_s: u64) -> Option<u64> {
        if unix_s <= self.seconds(now) {
            return None;
        }
        let stored_s = unix_s.saturating_add(RESERVE_S);
        // Until that is stored the claimed stretch is all there is.
        self.base_s = unix_s.min(self.end_s - 1);
        self.since = now;
        Some(stored_s)
    }

    /// The floor to store when most of the claimed stretch is used up. Ask every hour or so.
    pub fn due(&self, now: Ticks) -> Option<u64> {
        let left_s = self.end_s - self.seconds(now);
        (left_s <= RESERVE_S / 4).then(|| self.seconds(now).saturating_add(RESERVE_S))
    }

    /// That floor is stored.
    pub fn stored(&mut self, end_s: u64) {
        self.end_s = self.end_s.max(end_s);
    }

    /// The time for the tunnel.
    pub fn now(&self, now: Ticks) -> Now {
        let fraction = now.since(self.since) % 1_000_000_000;
        Now::new(now.nanos(), self.seconds(now), fraction as u32)
    }

    /// Stands still at the end of the claimed stretch; the tunnel counts on by itself in the lowest digits.
    fn seconds(&self, now: Ticks) -> u64 {
        self.base_s
            .saturating_add(now.since(self.since) / 1_000_000_000)
            .min(self.end_s - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_S: u64 = 1_750_000_000;

    #[test]
    fn no_start_uses_a_time_that_an_earlier_one_used() {
        let mut stored = BUILT_S;
        let mut latest = 0;
        for run_s in [0, 1, 3 * 3600, 5 * 3600, 7 * 3600, 100 * 3600] {
            let (mut floor, store) = TimeFloor::boot(Ticks::ZERO, stored);
            stored = store;
            assert!(floor.now(Ticks::ZERO).unix_secs > latest, "after {run_s} s");
            for second in (0..=run_s).step_by(600) {
                let now = Ticks::from_secs(second);
                latest = floor.now(now).unix_secs;
                if let Some(end) = floor.due(now) {
                    stored = end;
                    floor.stored(end);
                }
            }
            assert!(latest < stored);
        }
    }

    #[test]
    fn a_store_that_fails_stops_the_clock_and_does_not_break_the_promise() {
        let (floor, stored) = TimeFloor::boot(Ticks::ZERO, BUILT_S);
        let later = floor.now(Ticks::from_secs(1_000_000));
        assert_eq!(later.unix_secs, stored - 1);
        assert_eq!(later.ticks, Ticks::from_secs(1_000_000), "the timers go on");
    }

    #[test]
    fn a_clock_that_turns_up_raises_the_floor_and_never_lowers_it() {
        let (mut floor, _) = TimeFloor::boot(Ticks::ZERO, BUILT_S);
        assert_eq!(floor.learn(Ticks::from_secs(10), BUILT_S - 5), None);
        let store = floor
            .learn(Ticks::from_secs(10), BUILT_S + 1_000_000)
            .unwrap();
        assert_eq!(store, BUILT_S + 1_000_000 + RESERVE_S);
        assert!(
            floor.now(Ticks::from_secs(10)).unix_secs < BUILT_S + RESERVE_S,
            "not before it is stored"
        );
        floor.stored(store);
        assert_eq!(
            floor.learn(Ticks::from_secs(11), BUILT_S + 1_000_001),
            Some(store + 1)
        );
        assert_eq!(
            floor.now(Ticks::from_secs(11)).unix_secs,
            BUILT_S + 1_000_001
        );
    }
}
