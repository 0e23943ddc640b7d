//! How long may a device be silent before the NAT in front of it forgets it?
//!
//! Asking too often costs data and battery, asking too seldom makes the device unreachable until it speaks.
//! [`Learner`] starts with the customary 25 s and then finds out: it asks the hub to send something after a longer silence, and sees whether that arrives.
//! Pure: time and chance are arguments. Against a hub that does not answer it stays with the customary interval.

use crate::engine::Ticks;

/// Seconds between keep-alives when nothing is known: what every WireGuard guide says.
pub(crate) const SAFE_S: u16 = 25;

/// Seconds that are the most worth trying: beyond, the gain is a few bytes a day.
pub(crate) const MOST_S: u16 = 280;

/// Seconds that are the fewest.
pub(crate) const FEWEST_S: u16 = 10;

/// Seconds that an echo may be late.
const LATE_S: u16 = 5;

/// Seconds between the end of one probe and the start of the next.
const PAUSE_S: u16 = 30;

/// Lost probes in a row that are believed; one is a lost packet.
const FAILURES: u8 = 2;

/// Seconds between the longest silence that works and the shortest that does not, which are near enough.
const NEAR_S: u16 = 20;

/// A probe to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) after_s: u16,
    pub(crate) nonce: u32,
}

impl Probe {
    const fn overdue_at(self, started: Ticks) -> Ticks {
        later(started, self.after_s + LATE_S)
    }
}

/// Mappings lost at the safe interval, each so soon after the one before, that make it shorter.
const STRIKES: u8 = 3;
const STRIKES_WITHIN_S: u16 = 300;

/// What is known of the NAT.
#[derive(Debug, Clone)]
pub(crate) struct Learner {
    /// The longest silence that an echo came back from.
    works_s: Option<u16>,
    /// The shortest silence that none came back from.
    fails_s: Option<u16>,
    failures: u8,
    running: Option<(Probe, Ticks)>,
    not_before: Ticks,
    strikes: Option<(u8, Ticks)>,
    /// An echo came at least once.
    answered: bool,
}

impl Learner {
    pub(crate) const fn new(now: Ticks) -> Self {
        Self {
            works_s: None,
            fails_s: None,
            failures: 0,
            running: None,
            not_before: pause(now),
            strikes: None,
            answered: false,
        }
    }

    /// The hub is one that answers, so it says by itself when it does not know the device.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Seconds between keep-alives: a tenth less than what is known to work.
    pub(crate) fn interval_s(&self) -> u16 {
        match (self.works_s, self.fails_s) {
            (Some(works), _) => (works - works / 10).max(FEWEST_S),
            (None, Some(fails)) if fails <= SAFE_S => (fails / 2).max(FEWEST_S),
            (None, Some(_)) => SAFE_S,
            (None, None) => SAFE_S,
        }
    }

    /// A probe to send now, if there is something to learn. Nothing else may be sent until it is over.
    pub(crate) fn start(&mut self, now: Ticks, nonce: u32) -> Option<Probe> {
        self.start_at(now, now, nonce)
    }

    /// The same with a silence that begins later, when what asks for it is over.
    pub(crate) fn start_at(&mut self, now: Ticks, silent_from: Ticks, nonce: u32) -> Option<Probe> {
        if now < self.not_before || self.running.is_some() {
            return None;
        }
        let probe = Probe {
            after_s: self.candidate()?,
            nonce,
        };
        self.running = Some((probe, silent_from));
        Some(probe)
    }

    /// A silence of that length does not come about, so nothing longer is tried.
    #[cfg(feature = "linux")]
    pub(crate) fn unknowable(&mut self, silence_s: u16) {
        self.fails_s = Some(silence_s);
    }

    /// A probe is under way, so the silence must be kept.
    pub(crate) fn is_probing(&self) -> bool {
        self.running.is_some()
    }

    /// Something else was sent: the mapping is fresh again, and the probe says nothing.
    pub(crate) fn disturbed(&mut self, now: Ticks) {
        if self.running.take().is_some() {
            self.not_before = pause(now);
        }
    }

    /// The hub's echo came.
    pub(crate) fn echoed(&mut self, now: Ticks, nonce: u32) {
        let Some((probe, started)) = self.running.filter(|(probe, _)| probe.nonce == nonce) else {
            return;
        };
        self.answered = true;
        // An echo before its time says nothing about the silence that was asked for.
        if later(started, probe.after_s.saturating_sub(LATE_S)) <= now {
            self.works_s = Some(probe.after_s);
            self.failures = 0;
        }
        self.running = None;
        self.not_before = pause(now);
    }

    /// Is the echo overdue? Then the mapping is gone, and must be opened again at once.
    pub(crate) fn overdue(&mut self, now: Ticks) -> bool {
        let Some((probe, started)) = self.running else {
            return false;
        };
        if probe.overdue_at(started) > now {
            return false;
        }
        self.running = None;
        self.not_before = pause(now);
        self.failures += 1;
        if self.failures >= FAILURES {
            self.failures = 0;
            self.fails_s = Some(probe.after_s);
        }
        true
    }

    /// The hub did not know us where we are: the mapping was lost at the present interval, or the hub has started anew.
    ///
    /// Learning starts afresh; only when the safe interval too has been too long some times in a row, it is shortened.
    pub(crate) fn lost(&mut self, now: Ticks) {
        let interval_s = self.interval_s();
        let strikes = self
            .strikes
            .filter(|(_, last)| later(*last, STRIKES_WITHIN_S) > now);
        let shorter = Self {
            fails_s: self.fails_s.filter(|fails| *fails <= SAFE_S),
            answered: self.answered,
            ..Self::new(now)
        };
        *self = shorter;
        if interval_s > SAFE_S {
            return;
        }
        let count = strikes.map_or(1, |(count, _)| count + 1);
        if count < STRIKES {
            self.strikes = Some((count, now));
        } else {
            self.fails_s = Some(interval_s);
        }
    }

    /// The device is in another network: nothing is known.
    pub(crate) fn moved(&mut self, now: Ticks) {
        *self = Self {
            answered: self.answered,
            ..Self::new(now)
        };
    }

    /// When [`Self::overdue`] or [`Self::start`] has something to say.
    pub(crate) fn wake(&self) -> Option<Ticks> {
        match self.running {
            Some((probe, started)) => Some(probe.overdue_at(started)),
            None => self.candidate().map(|_| self.not_before),
        }
    }

    /// The silence to try next: twice as long, or between what works and what does not.
    fn candidate(&self) -> Option<u16> {
        let works = self.works_s.unwrap_or(SAFE_S);
        match self.fails_s {
            None if works < MOST_S => Some((works * 2).min(MOST_S)),
            Some(fails) if fails > works + NEAR_S => Some(works.midpoint(fails)),
            None | Some(_) => None,
        }
    }
}

const fn pause(now: Ticks) -> Ticks {
    later(now, PAUSE_S)
}

/// So many seconds later.
#[inline(never)]
pub(crate) const fn later(than: Ticks, seconds: u16) -> Ticks {
    than.add_nanos(seconds as u64 * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A NAT that forgets after `forgets_s`, as a device that is otherwise silent meets it. Returns the interval that is settled on, and the seconds it took.
    fn settle(forgets_s: u16) -> (u16, u64) {
        let mut learner = Learner::new(Ticks::ZERO);
        let mut now = Ticks::ZERO;
        for nonce in 0..100 {
            let Some(at) = learner.wake() else { break };
            now = at;
            let probe = learner.start(now, nonce).expect("it woke to probe");
            if probe.after_s < forgets_s {
                now = now.add_nanos(u64::from(probe.after_s) * 1_000_000_000);
                learner.echoed(now, nonce);
            } else {
                now = learner.wake().expect("it waits for the echo");
                assert!(learner.overdue(now));
            }
        }
        assert_eq!(learner.wake(), None, "it settles");
        (learner.interval_s(), now.nanos() / 1_000_000_000)
    }

    #[test]
    fn it_finds_an_interval_below_what_the_nat_allows_and_not_far_below() {
        for forgets_s in [30, 40, 60, 90, 120, 180, 240, 300, 600] {
            let (interval_s, took_s) = settle(forgets_s);
            assert!(
                interval_s < forgets_s,
                "{interval_s} s holds a mapping of {forgets_s} s"
            );
            assert!(
                interval_s >= forgets_s.min(MOST_S) / 2 - 2,
                "{interval_s} s of {forgets_s} s"
            );
            assert!(took_s < 2 * 3600, "{took_s} s");
        }
        assert_eq!(settle(600).0, 252);
    }

    #[test]
    fn without_an_answer_the_safe_interval_stays() {
        assert_eq!(settle(0).0, SAFE_S);
    }

    #[test]
    fn one_lost_packet_is_not_a_nat_that_forgets() {
        let mut learner = Learner::new(Ticks::ZERO);
        let at = learner.wake().unwrap();
        learner.start(at, 1).unwrap();
        let late = learner.wake().unwrap();
        assert!(learner.overdue(late));
        let again = learner.wake().unwrap();
        let probe = learner.start(again, 2).unwrap();
        assert_eq!(probe.after_s, 50);
        learner.echoed(again.add_nanos(50_000_000_000), 2);
        assert_eq!(learner.interval_s(), 45);
    }

    #[test]
    fn a_disturbed_probe_and_an_early_or_foreign_echo_teach_nothing() {
        let mut learner = Learner::new(Ticks::ZERO);
        let at = learner.wake().unwrap();
        learner.start(at, 1).unwrap();
        learner.disturbed(at.add_nanos(1));
        learner.echoed(at.add_nanos(50_000_000_000), 1);
        assert_eq!(learner.interval_s(), SAFE_S);
        let at = learner.wake().unwrap();
        learner.start(at, 2).unwrap();
        learner.echoed(at.add_nanos(50_000_000_000), 3);
        assert!(learner.is_probing());
        learner.echoed(at.add_nanos(1_000_000_000), 2);
        assert_eq!(learner.interval_s(), SAFE_S);
    }

    #[test]
    fn a_lost_mapping_starts_the_learning_afresh() {
        let mut learner = Learner {
            works_s: Some(280),
            ..Learner::new(Ticks::ZERO)
        };
        assert_eq!(learner.interval_s(), 252);
        learner.lost(Ticks::ZERO);
        assert_eq!(learner.interval_s(), SAFE_S);
        assert!(
            learner.wake().is_some(),
            "a hub that started anew does not spoil the interval for good"
        );
    }

    #[test]
    fn mappings_that_are_lost_one_after_the_other_shorten_the_safe_interval() {
        let mut learner = Learner::new(Ticks::ZERO);
        for second in [0, 25, 50] {
            assert_eq!(learner.interval_s(), SAFE_S);
            learner.lost(Ticks::from_secs(second));
        }
        assert_eq!(learner.interval_s(), 12);
        learner.moved(Ticks::from_secs(60));
        assert_eq!(learner.interval_s(), SAFE_S);
    }
}
