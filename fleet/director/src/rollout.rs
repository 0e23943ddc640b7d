//! Staged roll-outs: in which order devices are given a release, and when that stops.
//!
//! What must stay true: only [`Phase::Running`] opens waves; a phase that stops the roll-out admits nobody new; devices that are off or defer are counted as waiting or told, never as failed.

use std::collections::BTreeMap;

use lightship_core::id::Uuid;
use lightship_core::time::UnixTime;
use serde::{Deserialize, Serialize};

use crate::limits::WAVES;

/// Who is given a release in which order, and when that stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One after the other. A device belongs to the first that it matches; the last is for all.
    pub waves: Vec<Wave>,
    /// When the roll-out is halted.
    #[serde(default)]
    pub threshold: Threshold,
    /// Whether those who have the release are taken back when it is halted.
    #[serde(default)]
    pub revert: bool,
}

/// One step of a roll-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Who is in it.
    pub who: Who,
    /// Seconds between the first success in this wave and the opening of the next.
    #[serde(default)]
    pub soak_s: u32,
}

/// Who is in a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// This share of the fleet, counted from its beginning: 10, 50, 100 are three waves of 10, 40 and 50.
    Percent(u8),
    /// Devices with this tag.
    Tag {
        /// The tag.
        key: String,
        /// Its value; absent means any.
        #[serde(default)]
        value: Option<String>,
    },
}

/// How many failures halt a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// More than this share of those who succeeded or failed.
    pub percent: u8,
    /// And at least so many.
    pub at_least: u32,
}

impl Default for Threshold {
    /// More than a tenth, and at least two.
    fn default() -> Self {
        Self {
            percent: 10,
            at_least: 2,
        }
    }
}

/// Why a plan is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// None, or more than the limit.
    #[error("a roll-out has 1 to {WAVES} waves")]
    WaveCount,
    /// Not all devices are in a wave.
    #[error("the last wave of a roll-out must be 100 percent")]
    LastIsNotAll,
    /// A percentage that does not rise, is zero or above 100.
    #[error("percentages must rise from wave to wave, between 1 and 100")]
    PercentDoesNotRise,
    /// Above 100.
    #[error("the failure threshold is a percentage between 0 and 100")]
    Threshold,
}

impl Plan {
    /// Everyone at once, halted by the default threshold.
    pub fn at_once() -> Self {
        Self {
            waves: vec![Wave {
                who: Who::Percent(100),
                soak_s: 0,
            }],
            threshold: Threshold::default(),
            revert: false,
        }
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    ///
    /// The first [`BadPlan`] found.
    pub fn check(&self) -> Result<(), BadPlan> {
        if self.waves.is_empty() || self.waves.len() > WAVES {
            return Err(BadPlan::WaveCount);
        }
        if self.waves.last().map(|wave| &wave.who) != Some(&Who::Percent(100)) {
            return Err(BadPlan::LastIsNotAll);
        }
        if self.threshold.percent > 100 {
            return Err(BadPlan::Threshold);
        }
        let mut last = 0;
        for wave in &self.waves {
            if let Who::Percent(percent) = wave.who {
                if percent <= last || percent > 100 {
                    return Err(BadPlan::PercentDoesNotRise);
                }
                last = percent;
            }
        }
        Ok(())
    }

    /// The wave that a device belongs to.
    pub fn wave_of(&self, release: u64, device: &Uuid, tags: &BTreeMap<String, String>) -> u8 {
        let share = share(release, device);
        let matches = |wave: &Wave| match &wave.who {
            Who::Percent(percent) => share < u64::from(*percent) * 100,
            Who::Tag { key, value } => tags
                .get(key)
                .is_some_and(|has| value.as_ref().is_none_or(|value| value == has)),
        };
        let position = self.waves.iter().position(matches);
        let position = position.unwrap_or(self.waves.len().saturating_sub(1));
        u8::try_from(position).expect("a plan has at most WAVES waves")
    }
}

/// Where a device stands in the order of a release, in hundredths of a percent.
///
/// Another order for each release, so that not the same devices always go first (SplitMix64, Steele et al. 2014).
fn share(release: u64, device: &Uuid) -> u64 {
    let (high, low) = device.0.split_at(8);
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0u64, |word, byte| word << 8 | u64::from(*byte))
    };
    let mut mixed = word(high) ^ mix(word(low) ^ mix(release));
    mixed = mix(mixed);
    mixed % 10_000
}

pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// How far a roll-out is, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether it goes on.
    pub phase: Phase,
    /// The last wave that is open, from 0.
    pub wave: u8,
    /// When it was opened.
    pub opened: UnixTime,
    /// When its first device succeeded.
    pub soaking_since: Option<UnixTime>,
    /// Failures that were known when a person had it go on.
    pub forgiven: u32,
}

/// Whether a roll-out goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Opens wave after wave.
    Running,
    /// A person stopped it for now.
    Paused,
    /// Too many failed.
    Halted {
        /// So many succeeded until then.
        succeeded: u32,
        /// So many failed until then.
        failed: u32,
        /// Whether those who have the release are taken back.
        revert: bool,
    },
    /// A person stopped it for good.
    Aborted {
        /// Whether those who have the release are taken back.
        revert: bool,
    },
    /// Every wave was opened and has soaked; whoever joins is given the release at once.
    Completed,
}

/// Where a device stands in a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Not told yet.
    Waiting,
    /// Told, and nothing is known of how it went.
    Told,
    /// Committed the release.
    Succeeded,
    /// Tried the release and gave it up.
    Failed,
}

/// How many devices of a wave stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Not told yet.
    pub waiting: u32,
    /// Told, and nothing is known of how it went.
    pub told: u32,
    /// Committed the release.
    pub succeeded: u32,
    /// Tried the release and gave it up.
    pub failed: u32,
}

impl Tally {
    fn slot(&mut self, stage: Stage) -> &mut u32 {
        match stage {
            Stage::Waiting => &mut self.waiting,
            Stage::Told => &mut self.told,
            Stage::Succeeded => &mut self.succeeded,
            Stage::Failed => &mut self.failed,
        }
    }

    /// Everyone in it.
    pub const fn all(&self) -> u32 {
        self.waiting + self.told + self.succeeded + self.failed
    }
}

/// A roll-out: its plan, how far it is, and who stands where.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    pub(crate) plan: Plan,
    pub(crate) progress: Progress,
    pub(crate) tallies: Vec<Tally>,
}

/// What a roll-out does next, when it does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    Halted { revert: bool },
    Soaking,
    Opened(u8),
    Completed,
}

impl Rollout {
    pub(crate) fn start(plan: Plan, now: UnixTime) -> Self {
        let progress = Progress {
            phase: Phase::Running,
            wave: 0,
            opened: now,
            soaking_since: None,
            forgiven: 0,
        };
        Self::restore(plan, progress)
    }

    pub(crate) fn restore(plan: Plan, progress: Progress) -> Self {
        Self {
            tallies: vec![Tally::default(); plan.waves.len()],
            plan,
            progress,
        }
    }

    /// Whether a device of `wave` may have the release; `has_it` if it was given it before.
    pub(crate) fn admits(&self, wave: u8, has_it: bool) -> bool {
        match self.progress.phase {
            Phase::Running => has_it || wave <= self.progress.wave,
            Phase::Paused => has_it,
            Phase::Halted { revert, .. } | Phase::Aborted { revert } => has_it && !revert,
            Phase::Completed => true,
        }
    }

    /// Whether devices that have the release are being taken back.
    pub(crate) fn reverts(&self) -> bool {
        matches!(
            self.progress.phase,
            Phase::Halted { revert: true, .. } | Phase::Aborted { revert: true }
        )
    }

    /// Whether it may still change who is given the release.
    pub(crate) fn is_live(&self) -> bool {
        match self.progress.phase {
            Phase::Running | Phase::Paused | Phase::Halted { .. } => true,
            Phase::Aborted { .. } | Phase::Completed => false,
        }
    }

    pub(crate) fn count(&mut self, wave: u8, stage: Stage) {
        *self.tallies[usize::from(wave)].slot(stage) += 1;
    }

    pub(crate) fn uncount(&mut self, wave: u8, stage: Stage) {
        *self.tallies[usize::from(wave)].slot(stage) -= 1;
    }

    /// Sums over all waves.
    pub(crate) fn total(&self) -> Tally {
        let mut sum = Tally::default();
        for tally in &self.tallies {
            sum.waiting += tally.waiting;
            sum.told += tally.told;
            sum.succeeded += tally.succeeded;
            sum.failed += tally.failed;
        }
        sum
    }

    /// When the open wave has soaked.
    pub(crate) fn soaked_at(&self) -> Option<UnixTime> {
        let soak_s = self.plan.waves[usize::from(self.progress.wave)].soak_s;
        let since = self.progress.soaking_since?;
        (self.progress.phase == Phase::Running)
            .then(|| UnixTime(since.0.saturating_add(u64::from(soak_s))))
    }

    /// Halts when too many failed. Looked at after every change.
    pub(crate) fn halt(&mut self) -> Option<Advance> {
        if self.progress.phase != Phase::Running || !self.has_failed() {
            return None;
        }
        let Tally {
            succeeded, failed, ..
        } = self.total();
        let revert = self.plan.revert;
        self.progress.phase = Phase::Halted {
            succeeded,
            failed,
            revert,
        };
        Some(Advance::Halted { revert })
    }

    fn has_failed(&self) -> bool {
        let sum = self.total();
        let failed = sum.failed.saturating_sub(self.progress.forgiven);
        if failed == 0 {
            return false;
        }
        let ended = u64::from(failed) + u64::from(sum.succeeded);
        let beyond = u64::from(failed) * 100 > ended * u64::from(self.plan.threshold.percent);
        let open = self.tallies[usize::from(self.progress.wave)];
        let nobody_succeeded = open.failed > 0 && open.failed == open.all();
        beyond && failed >= self.plan.threshold.at_least || nobody_succeeded
    }

    /// Opens the next wave when the open one has soaked. Looked at when every device has been looked at.
    pub(crate) fn advance(&mut self, now: UnixTime) -> Option<Advance> {
        if self.progress.phase != Phase::Running {
            return None;
        }
        // With nobody to give it to, as while the fleet is pinned elsewhere, it has not begun.
        if self.total().all() == 0 {
            return None;
        }
        let open = self.tallies[usize::from(self.progress.wave)];
        if open.all() == 0 {
            return Some(self.open_next(now));
        }
        if self.progress.soaking_since.is_none() {
            if open.succeeded == 0 {
                return None;
            }
            self.progress.soaking_since = Some(now);
            return Some(Advance::Soaking);
        }
        self.soaked_at()
            .is_some_and(|at| at <= now)
            .then(|| self.open_next(now))
    }

    pub(crate) fn open_next(&mut self, now: UnixTime) -> Advance {
        if usize::from(self.progress.wave) + 1 == self.plan.waves.len() {
            self.progress.phase = Phase::Completed;
            return Advance::Completed;
        }
        self.progress.wave += 1;
        self.progress.opened = now;
        self.progress.soaking_since = None;
        Advance::Opened(self.progress.wave)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(shares: &[u8]) -> Plan {
        let waves = shares.iter().map(|share| Wave {
            who: Who::Percent(*share),
            soak_s: 60,
        });
        Plan {
            waves: waves.collect(),
            ..Plan::at_once()
        }
    }

    #[test]
    fn a_plan_that_leaves_devices_out_or_falls_is_refused() {
        assert_eq!(percent(&[]).check(), Err(BadPlan::WaveCount));
        assert_eq!(percent(&[10, 99]).check(), Err(BadPlan::LastIsNotAll));
        assert_eq!(
            percent(&[50, 10, 100]).check(),
            Err(BadPlan::PercentDoesNotRise)
        );
        assert_eq!(percent(&[0, 100]).check(), Err(BadPlan::PercentDoesNotRise));
        assert_eq!(percent(&[1, 10, 100]).check(), Ok(()));
    }

    #[test]
    fn waves_by_percentage_hold_about_their_share_and_differ_between_releases() {
        let plan = percent(&[10, 50, 100]);
        let device = |i: u64| {
            let mut bytes = [7; 16];
            bytes[..8].copy_from_slice(&i.to_be_bytes());
            Uuid::from_random(bytes)
        };
        let waves = |release| (0..10_000).map(move |i| (i, release));
        let mut counts = [0; 3];
        let mut moved = 0;
        for (i, release) in waves(1) {
            let wave = percent(&[10, 50, 100]).wave_of(release, &device(i), &BTreeMap::new());
            counts[usize::from(wave)] += 1;
            moved += u32::from(wave != plan.wave_of(2, &device(i), &BTreeMap::new()));
        }
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
        assert!((3800..4200).contains(&counts[1]), "{counts:?}");
        assert!(moved > 5000, "{moved}");
    }

    #[test]
    fn a_tagged_wave_takes_the_tagged_before_the_shares_are_counted() {
        let mut plan = percent(&[100]);
        let who = Who::Tag {
            key: "ring".into(),
            value: Some("canary".into()),
        };
        plan.waves.insert(0, Wave { who, soak_s: 0 });
        let tags = |value: &str| BTreeMap::from([("ring".to_owned(), value.to_owned())]);
        let device = Uuid::from_random([1; 16]);
        assert_eq!(plan.wave_of(1, &device, &tags("canary")), 0);
        assert_eq!(plan.wave_of(1, &device, &tags("stable")), 1);
    }
}
