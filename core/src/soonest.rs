//! The next moment at which something has to be looked at again, and what for.

use crate::agent::Wake;
use crate::time::Instant;

/// Takes moments one by one and keeps the soonest.
///
/// What is already due waits for something else, of which an event will tell; only later moments count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soonest {
    now: Instant,
    at: Instant,
    why: Wake,
}

impl Soonest {
    pub(crate) const fn after(now: Instant) -> Self {
        Self {
            now,
            at: Instant::NEVER,
            why: Wake::Event,
        }
    }

    #[inline(never)]
    pub(crate) fn offer(&mut self, why: Wake, at: Instant) {
        if at > self.now && at < self.at {
            self.at = at;
            self.why = why;
        }
    }

    pub(crate) fn found(self) -> (Option<Instant>, Wake) {
        (Some(self.at).filter(|at| *at < Instant::NEVER), self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soonest_of_what_is_still_to_come_is_kept() {
        let at = Instant::from_millis;
        let mut soonest = Soonest::after(at(10));
        assert_eq!(soonest.found(), (None, Wake::Event));
        soonest.offer(Wake::Record, at(10));
        soonest.offer(Wake::Link, at(30));
        soonest.offer(Wake::Components, at(20));
        soonest.offer(Wake::Upkeep, at(20));
        assert_eq!(soonest.found(), (Some(at(20)), Wake::Components));
    }
}
