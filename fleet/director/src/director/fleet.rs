//! Events that concern the whole fleet, and those that only record a fact of one device.

use lightship_core::id::Uuid;

use super::{Director, Member};
use crate::event::{Decision, Note, Refusal};
use crate::facts::{Device, Fleet, Release, ReleaseState, Report};
use crate::limits::{COUNTER, LEASE_LEAST_S, LIVE_ROLLOUTS, WINDOWS};
use crate::record::Record;
use crate::rollout::Rollout;

impl Director {
    pub(super) fn set_fleet(&mut self, fleet: Fleet) -> Result<(), Refusal> {
        if fleet.lease_s < LEASE_LEAST_S || fleet.windows.len() > WINDOWS {
            return Err(Refusal::OutOfBounds);
        }
        if fleet != self.fleet {
            self.fleet = fleet;
            self.look_at_all();
        }
        Ok(())
    }

    pub(super) fn set_release(&mut self, number: u64, release: Release) -> Result<(), Refusal> {
        if let Some(plan) = &release.rollout {
            plan.check()?;
        }
        match self.releases.get(&number) {
            Some(known) if *known == release => return Ok(()),
            Some(known) => check_change(known, &release)?,
            None => {}
        }
        let starts = release.state == ReleaseState::Final && !self.rollouts.contains_key(&number);
        if let Some(plan) = release.rollout.clone().filter(|_| starts) {
            if self.rollouts.values().filter(|r| r.is_live()).count() >= LIVE_ROLLOUTS {
                return Err(Refusal::TooManyRollouts);
            }
            let rollout = Rollout::start(plan, self.now);
            let progress = rollout.progress;
            self.rollouts.insert(number, rollout);
            self.decide(Decision::Rollout {
                release: number,
                progress,
            });
        }
        if release.state == ReleaseState::Invalid {
            self.rollouts.remove(&number);
        }
        self.insert_release(number, release);
        self.choose_counted();
        self.look_at_all();
        Ok(())
    }

    pub(super) fn insert_release(&mut self, number: u64, release: Release) {
        let documents = release.documents.values();
        self.floors
            .extend(documents.map(|document| (document.digest, document.floor)));
        self.releases.insert(number, release);
    }

    pub(super) fn set_device(&mut self, uuid: Uuid, device: Device) -> Result<(), Refusal> {
        if device.windows.as_ref().is_some_and(|w| w.len() > WINDOWS) {
            return Err(Refusal::OutOfBounds);
        }
        match self.devices.get_mut(&uuid) {
            Some(member) if member.device == device => return Ok(()),
            Some(member) => member.device = device,
            None => {
                let member = Member::new(device, Record::default(), Report::default());
                self.devices.insert(uuid, member);
            }
        }
        self.queue(uuid);
        Ok(())
    }

    pub(super) fn remove(&mut self, uuid: &Uuid) -> Result<(), Refusal> {
        let member = self.devices.remove(uuid).ok_or(Refusal::UnknownDevice)?;
        if let Some(at) = member.wakes {
            self.timers.remove(&(at, *uuid));
        }
        for standing in member.standings {
            if let Some(rollout) = self.rollouts.get_mut(&standing.release) {
                rollout.uncount(standing.wave, standing.stage);
            }
        }
        Ok(())
    }

    pub(super) fn report(&mut self, uuid: Uuid, report: Report) -> Result<(), Refusal> {
        let member = self.devices.get_mut(&uuid);
        let member = member.ok_or(Refusal::UnknownDevice)?;
        if member.report == report {
            return Ok(());
        }
        member.report = report;
        let given = member.record.assigned.as_ref().map_or(0, |a| a.counter);
        if report.counter > given && report.counter <= COUNTER {
            self.note(Note::CounterBehind {
                device: uuid,
                reported: report.counter,
            });
        }
        self.queue(uuid);
        Ok(())
    }

    /// Devices learn of the new root before anything else and start their floors again, too.
    pub(super) fn restart_floors(&mut self, floor: u32) {
        self.fleet.floor = floor;
        let mut lowered = Vec::new();
        for (uuid, member) in &mut self.devices {
            if member.record.floor > floor {
                member.record.floor = floor;
                lowered.push((*uuid, member.record.clone()));
            }
        }
        for (device, record) in lowered {
            self.decide(Decision::Remember { device, record });
        }
        self.look_at_all();
    }
}

/// What was signed does not change; draft becomes final, and both may become invalid.
fn check_change(known: &Release, next: &Release) -> Result<(), Refusal> {
    let state_moves_on = match (known.state, next.state) {
        (ReleaseState::Draft, _) | (_, ReleaseState::Invalid) => true,
        (ReleaseState::Final, state) => state == ReleaseState::Final,
        (ReleaseState::Invalid, ReleaseState::Draft | ReleaseState::Final) => false,
    };
    let same_plan = known.rollout == next.rollout || known.state == ReleaseState::Draft;
    if known.documents == next.documents && state_moves_on && same_plan {
        Ok(())
    } else {
        Err(Refusal::ReleaseFixed)
    }
}
