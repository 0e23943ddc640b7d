//! How long the NAT in front remembers, learned through the tunnel itself.
//!
//! The UDP port is the interface's, so the one-byte datagrams of a tunnel in the process cannot be had here.
//! Instead the hub is asked, inside the tunnel, to say something after a silence, and the interface's counters tell whether there was one.
//! Pure: the time and what was observed are arguments; the [`Learner`] decides as it does everywhere.

use std::time::Duration;

use crate::engine::Ticks;
use crate::keepalive::{Learner, Probe};

/// How long the question itself may make packets pass: both ends still answer with an empty one ten seconds after the last.
pub(super) const SETTLE_S: u16 = 15;

/// So long before its end a probe is no longer disturbed: what passes may be the echo, or the handshake for it.
const ECHO_S: u64 = 2;

/// Disturbed so often in a row a silence of that length does not happen here, and need not be known.
const FUTILE: u8 = 4;

/// How long a hub that does not answer the question is not asked again.
const MUTE_S: u64 = 3600;

/// How often it is learned anew: nothing else shows here that a NAT has become more forgetful.
const ANEW_S: u64 = 24 * 3600;

const SECOND: u64 = 1_000_000_000;

/// What is known, and what is being found out.
pub(super) struct Learning {
    learner: Learner,
    asked: Option<Asked>,
    disturbed: u8,
    /// The hub is not asked before.
    not_before: Ticks,
    anew: Ticks,
}

#[derive(Clone, Copy)]
struct Asked {
    probe: Probe,
    /// From here on nothing may pass.
    silent_from: Ticks,
    /// What had passed then, once it is known.
    passed: Option<u64>,
}

/// What a look at the interface means for a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It goes on.
    On,
    /// Something else passed, so it says nothing.
    Disturbed,
    /// The echo should have come; the mapping must be opened again at once.
    Overdue,
}

impl Learning {
    pub(super) fn new(now: Ticks) -> Self {
        Self {
            learner: Learner::new(now),
            asked: None,
            disturbed: 0,
            not_before: now,
            anew: after(now, ANEW_S),
        }
    }

    /// Seconds between keep-alives.
    pub(super) fn interval_s(&self) -> u16 {
        self.learner.interval_s()
    }

    /// The longest time that may pass without a sign of the hub just because of keep-alives, beyond the customary one.
    pub(super) fn patience(&self) -> Duration {
        let probe_s = self.asked.map_or(0, |asked| asked.probe.after_s + SETTLE_S);
        Duration::from_secs(self.interval_s().max(probe_s).into())
    }

    /// When [`Self::start`] has something to say.
    pub(super) fn wake(&self) -> Ticks {
        let next = self.learner.wake().map(|at| at.max(self.not_before));
        next.map_or(self.anew, |next| next.min(self.anew))
    }

    /// A question for the hub, if there is something to learn: the seconds are counted from now.
    pub(super) fn start(&mut self, now: Ticks, nonce: u32) -> Option<Probe> {
        if now >= self.anew {
            self.anew = after(now, ANEW_S);
            self.learner.lost(now);
        }
        if now < self.not_before {
            return None;
        }
        let silent_from = after(now, SETTLE_S.into());
        let probe = self.learner.start_at(now, silent_from, nonce)?;
        self.asked = Some(Asked {
            probe,
            silent_from,
            passed: None,
        });
        Some(Probe {
            after_s: probe.after_s + SETTLE_S,
            ..probe
        })
    }

    /// So many bytes have passed through the interface so far.
    pub(super) fn look(&mut self, now: Ticks, passed: u64) -> Look {
        let Some(asked) = &mut self.asked else {
            return Look::Disturbed;
        };
        if self.learner.overdue(now) {
            self.asked = None;
            self.disturbed = 0;
            return Look::Overdue;
        }
        let ends = after(asked.silent_from, u64::from(asked.probe.after_s) - ECHO_S);
        if now < asked.silent_from || now >= ends {
            return Look::On;
        }
        let before = *asked.passed.get_or_insert(passed);
        if before == passed {
            return Look::On;
        }
        self.disturb(now);
        Look::Disturbed
    }

    /// The echo came.
    pub(super) fn echoed(&mut self, now: Ticks, nonce: u32) {
        self.disturbed = 0;
        self.asked = None;
        self.learner.echoed(now, nonce);
    }

    /// Something else passes: keys were changed, or the connection broke.
    pub(super) fn disturb(&mut self, now: Ticks) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        self.learner.disturbed(now);
        self.disturbed += 1;
        if self.disturbed >= FUTILE {
            self.disturbed = 0;
            self.learner.unknowable(asked.probe.after_s);
        }
    }

    /// The hub does not answer such questions.
    pub(super) fn mute(&mut self, now: Ticks) {
        self.asked = None;
        self.learner.disturbed(now);
        self.not_before = after(now, MUTE_S);
    }

    /// The device is in another network, or the hub is.
    pub(super) fn moved(&mut self, now: Ticks) {
        *self = Self::new(now);
    }
}

fn after(now: Ticks, seconds: u64) -> Ticks {
    now.add_nanos(seconds * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface behind a NAT that forgets after `forgets_s`, and that does a handshake of its own so long after the last, as some do. Returns the interval that is settled on and the time it took.
    fn settle(forgets_s: u64, handshake_s: u64) -> (u16, u64) {
        let mut learning = Learning::new(Ticks::ZERO);
        let mut now = Ticks::ZERO;
        let mut asked = 0;
        while learning.wake() < after(Ticks::ZERO, ANEW_S) {
            asked += 1;
            assert!(asked < 100, "it settles");
            now = learning.wake();
            let probe = learning.start(now, asked).expect("it woke to ask");
            let began = now;
            let due = after(began, probe.after_s.into());
            loop {
                now = after(now, 1);
                let since_s = now.since(began) / SECOND;
                // The question, the empty answers to it, and the tunnel's own handshake.
                let passed =
                    100 + 100 * u64::from(since_s > 10) + 100 * u64::from(since_s >= handshake_s);
                let silent_s = if since_s > handshake_s {
                    u64::from(probe.after_s) - handshake_s
                } else {
                    u64::from(probe.after_s) - 10
                };
                if now >= due && silent_s < forgets_s {
                    learning.echoed(now, asked);
                    break;
                }
                match learning.look(now, passed) {
                    Look::On => {}
                    Look::Disturbed | Look::Overdue => break,
                }
            }
        }
        (learning.interval_s(), now.nanos() / SECOND)
    }

    #[test]
    fn the_interval_is_one_that_the_nat_bears_and_not_far_below() {
        for forgets_s in [30, 60, 120, 180, 300, 600] {
            let (interval_s, took_s) = settle(forgets_s, 10_000);
            assert!(
                u64::from(interval_s) < forgets_s,
                "{interval_s} of {forgets_s}"
            );
            let most = forgets_s.min(280);
            assert!(
                u64::from(interval_s) >= most / 2 - 8,
                "{interval_s} of {forgets_s}"
            );
            assert!(took_s < 2 * 3600, "{took_s} s");
        }
        assert_eq!(settle(600, 10_000).0, 252);
    }

    #[test]
    fn a_tunnel_that_breaks_its_own_silence_is_not_asked_for_ever() {
        let (interval_s, took_s) = settle(600, 120);
        assert_eq!(
            interval_s, 90,
            "the longest silence that it bears is a hundred seconds"
        );
        assert!(took_s < 2 * 3600, "{took_s} s");
    }

    #[test]
    fn what_others_say_in_the_silence_teaches_nothing() {
        let mut learning = Learning::new(Ticks::ZERO);
        let start = learning.wake();
        let probe = learning.start(start, 1).unwrap();
        assert_eq!(probe.after_s, 50 + SETTLE_S);
        assert_eq!(learning.look(after(start, 5), 100), Look::On);
        assert_eq!(learning.look(after(start, 16), 200), Look::On);
        assert_eq!(learning.look(after(start, 30), 200), Look::On);
        assert_eq!(learning.look(after(start, 31), 201), Look::Disturbed);
        learning.echoed(after(start, 65), 1);
        assert_eq!(learning.interval_s(), 25);
        assert!(learning.wake() > after(start, 31));
    }

    #[test]
    fn a_hub_that_does_not_answer_is_left_alone_for_an_hour_and_the_interval_stays_safe() {
        let mut learning = Learning::new(Ticks::ZERO);
        let start = learning.wake();
        learning.start(start, 1).unwrap();
        learning.mute(start);
        assert_eq!(learning.interval_s(), 25);
        assert_eq!(learning.wake(), after(start, MUTE_S));
        assert_eq!(learning.start(after(start, 60), 2), None);
        assert!(learning.start(after(start, MUTE_S), 3).is_some());
    }

    #[test]
    fn it_is_learned_anew_every_day_and_in_another_network() {
        let mut learning = Learning::new(Ticks::ZERO);
        let mut now = Ticks::ZERO;
        let learn = |learning: &mut Learning, now: &mut Ticks, until: Ticks| {
            while learning.wake() < until {
                *now = learning.wake();
                let probe = learning.start(*now, 1).unwrap();
                *now = after(*now, probe.after_s.into());
                learning.echoed(*now, 1);
            }
        };
        let day = after(Ticks::ZERO, ANEW_S);
        learn(&mut learning, &mut now, day);
        assert_eq!((learning.interval_s(), learning.wake()), (252, day));
        assert_eq!(learning.start(day, 1), None, "it pauses first");
        assert_eq!(learning.interval_s(), 25);
        learn(&mut learning, &mut now, after(day, ANEW_S));
        assert_eq!(learning.interval_s(), 252);
        learning.moved(now);
        assert_eq!(learning.interval_s(), 25);
    }
}
