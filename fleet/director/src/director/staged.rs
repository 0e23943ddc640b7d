//! Roll-outs as a whole: what people order, when waves open, when too many failed.

use super::Director;
use crate::event::{Decision, Note, Order, Refusal};
use crate::facts::{Release, ReleaseState};
use crate::rollout::{Advance, Phase, Progress, Rollout, Stage};

impl Director {
    pub(super) fn restore_rollout(
        &mut self,
        number: u64,
        release: &Release,
        progress: Option<Progress>,
    ) {
        let Some(plan) = release.rollout.clone().filter(|plan| plan.check().is_ok()) else {
            return;
        };
        if release.state != ReleaseState::Final {
            return;
        }
        let rollout = match progress {
            Some(progress) if usize::from(progress.wave) < plan.waves.len() => {
                Rollout::restore(plan, progress)
            }
            Some(_) | None => {
                let rollout = Rollout::start(plan, self.now);
                self.decide(Decision::Rollout {
                    release: number,
                    progress: rollout.progress,
                });
                rollout
            }
        };
        self.rollouts.insert(number, rollout);
    }

    pub(super) fn order(&mut self, number: u64, order: Order) -> Result<(), Refusal> {
        let rollout = self.rollouts.get_mut(&number).ok_or(Refusal::NoRollout)?;
        let phase = rollout.progress.phase;
        match (order, phase) {
            (Order::Pause, Phase::Running) => rollout.progress.phase = Phase::Paused,
            (Order::Resume, Phase::Paused | Phase::Halted { .. }) => {
                // Those who were taken back count as waiting; what they reported stays known.
                let known = match phase {
                    Phase::Halted { failed, .. } => failed,
                    _ => 0,
                };
                rollout.progress.phase = Phase::Running;
                rollout.progress.forgiven = rollout.total().failed.max(known);
            }
            (Order::Advance, Phase::Running) => {
                let advance = rollout.open_next(self.now);
                self.advanced(number, advance);
                return Ok(());
            }
            (Order::Abort { revert }, Phase::Running | Phase::Paused | Phase::Halted { .. }) => {
                rollout.progress.phase = Phase::Aborted { revert };
            }
            // Aborted without taking anybody back: a person may still decide to.
            (Order::Abort { revert: true }, Phase::Aborted { revert: false }) => {
                rollout.progress.phase = Phase::Aborted { revert: true };
            }
            (Order::Pause | Order::Resume | Order::Advance | Order::Abort { .. }, _) => {
                return Err(Refusal::NotNow);
            }
        }
        let progress = rollout.progress;
        self.decide(Decision::Rollout {
            release: number,
            progress,
        });
        self.choose_counted();
        if order != Order::Pause {
            self.look_at_all();
        }
        Ok(())
    }

    /// Opens waves and completes roll-outs that are due; whether anything happened.
    pub(super) fn advance_rollouts(&mut self) -> bool {
        let now = self.now;
        let mut due = self.rollouts.iter_mut();
        let due = due.find_map(|(number, rollout)| Some((*number, rollout.advance(now)?)));
        match due {
            Some((number, advance)) => {
                self.advanced(number, advance);
                true
            }
            None => false,
        }
    }

    /// Halts the roll-out if too many failed.
    pub(super) fn halt_if_failing(&mut self, number: u64) {
        let rollout = self.rollouts.get_mut(&number);
        if let Some(advance) = rollout.and_then(Rollout::halt) {
            self.advanced(number, advance);
        }
    }

    fn advanced(&mut self, release: u64, advance: Advance) {
        let progress = self.rollouts[&release].progress;
        self.decide(Decision::Rollout { release, progress });
        match advance {
            Advance::Halted { revert } => {
                self.note(Note::Halted { release, revert });
                if revert {
                    self.look_at_counted(release, None);
                }
            }
            Advance::Soaking => {
                let wave = progress.wave;
                self.note(Note::Soaking { release, wave });
            }
            Advance::Opened(wave) => {
                self.note(Note::WaveOpened { release, wave });
                self.look_at_counted(release, Some(wave));
            }
            Advance::Completed => {
                self.note(Note::Completed { release });
                self.look_at_counted(release, None);
                self.choose_counted();
            }
        }
    }

    pub(super) fn choose_counted(&mut self) {
        let completed =
            |(_, rollout): &(&u64, &Rollout)| rollout.progress.phase == Phase::Completed;
        let last = self
            .rollouts
            .iter()
            .rev()
            .find(completed)
            .map(|(number, _)| *number);
        let counts =
            |(number, rollout): &(&u64, &Rollout)| rollout.is_live() || last == Some(**number);
        self.counted = self
            .rollouts
            .iter()
            .filter(counts)
            .map(|(number, _)| *number)
            .collect();
    }

    /// Has those looked at who are counted in a roll-out; with a wave, those of it who wait.
    fn look_at_counted(&mut self, release: u64, wave: Option<u8>) {
        for (uuid, member) in &mut self.devices {
            let counted = member.standings.iter().any(|standing| {
                let waits = |wave| standing.wave == wave && standing.stage == Stage::Waiting;
                standing.release == release && wave.is_none_or(waits)
            });
            if counted && !member.queued {
                member.queued = true;
                self.queue.push_back(*uuid);
            }
        }
    }
}
