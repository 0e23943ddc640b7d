//! Looks at one device: what it should run, whether it may be told now, and where it is counted.

use lightship_core::id::Uuid;
use lightship_core::time::UnixTime;

use super::{Director, Member, Standing};
use crate::choose::{Choice, Facts, Withheld};
use crate::event::{Decision, Note, Step};
use crate::limits::COUNTER;
use crate::record::{Assigned, Previous, Record};
use crate::rollout::{Stage, mix};
use crate::variables::{Filled, fill};
use crate::window::{Opening, opening};

/// What becomes of one device.
#[derive(Default)]
struct Outcome {
    assign: Option<(Assigned, Vec<Filled>)>,
    previous: Option<Previous>,
    withheld: Option<Withheld>,
    withdrawn: Option<u64>,
    opens: Option<UnixTime>,
    closes: Option<UnixTime>,
}

impl Director {
    pub(super) fn look_at(&mut self, uuid: Uuid) {
        let Some(member) = self.devices.get_mut(&uuid) else {
            return;
        };
        member.queued = false;
        let learned = learn(member, &self.floors);
        let facts = Facts {
            fleet: &self.fleet,
            releases: &self.releases,
            rollouts: &self.rollouts,
            uuid: &uuid,
            device: &member.device,
            record: &member.record,
            report: &member.report,
        };
        let choice = facts.choose();
        let chosen = choice.release;
        let outcome = Looking {
            facts,
            now: self.now,
        }
        .settle(choice);
        let wakes = [outcome.opens, outcome.closes];
        self.note_outcome(uuid, &outcome);
        self.carry_out(uuid, outcome, learned);
        self.set_timer(uuid, wakes.into_iter().flatten().min());
        self.count(uuid, chosen);
    }

    fn note_outcome(&mut self, uuid: Uuid, outcome: &Outcome) {
        let member = self.devices.get_mut(&uuid).expect("looked at");
        if member.withheld != outcome.withheld {
            member.withheld.clone_from(&outcome.withheld);
            let why = outcome.withheld.clone();
            self.note(Note::Withheld { device: uuid, why });
        }
        if let Some(release) = outcome.withdrawn {
            self.note(Note::Withdrawn {
                device: uuid,
                release,
            });
        }
    }

    fn carry_out(&mut self, device: Uuid, outcome: Outcome, learned: bool) {
        let member = self.devices.get_mut(&device).expect("looked at");
        let decision = match outcome.assign {
            Some((assigned, settings)) => {
                member.record.assigned = Some(assigned);
                member.record.previous = outcome.previous;
                let record = member.record.clone();
                Decision::Assign {
                    device,
                    record,
                    settings,
                }
            }
            None if learned => {
                let record = member.record.clone();
                Decision::Remember { device, record }
            }
            None => return,
        };
        self.out.push_back(Step::Decide(decision));
    }

    /// Has the device looked at again when its window changes or its assignment is to be renewed.
    fn set_timer(&mut self, uuid: Uuid, window: Option<UnixTime>) {
        let member = self.devices.get_mut(&uuid).expect("looked at");
        let assigned = member.record.assigned.as_ref();
        let renewal = assigned
            .filter(|a| a.counter < COUNTER)
            .map(|a| renewal(&uuid, a));
        // What is due but cannot be done, for want of a counter, must not be tried again at once.
        let next = window
            .into_iter()
            .chain(renewal)
            .filter(|at| *at > self.now)
            .min();
        if member.wakes == next {
            return;
        }
        if let Some(at) = member.wakes {
            self.timers.remove(&(at, uuid));
        }
        member.wakes = next;
        self.timers.extend(next.map(|at| (at, uuid)));
    }

    /// Counts the device anew in every roll-out that counts.
    fn count(&mut self, uuid: Uuid, chosen: Option<u64>) {
        let member = &self.devices[&uuid];
        let facts = Facts {
            fleet: &self.fleet,
            releases: &self.releases,
            rollouts: &self.rollouts,
            uuid: &uuid,
            device: &member.device,
            record: &member.record,
            report: &member.report,
        };
        let standings = self.counted.iter();
        let standings: Vec<Standing> = standings
            .filter(|number| facts.is_concerned(**number, chosen))
            .map(|number| facts.standing(*number))
            .collect();
        let member = self.devices.get_mut(&uuid).expect("looked at");
        if member.standings == standings {
            return;
        }
        let before = std::mem::replace(&mut member.standings, standings.clone());
        for standing in before {
            if let Some(rollout) = self.rollouts.get_mut(&standing.release) {
                rollout.uncount(standing.wave, standing.stage);
            }
        }
        for standing in &standings {
            let rollout = self.rollouts.get_mut(&standing.release);
            rollout
                .expect("only what exists is counted")
                .count(standing.wave, standing.stage);
        }
        for standing in standings {
            if standing.stage == Stage::Failed {
                self.halt_if_failing(standing.release);
            }
        }
    }
}

/// Takes what the device said last into its record; whether that changed it.
fn learn(member: &mut Member, floors: &super::Floors) -> bool {
    let before = member.record.clone();
    let Record {
        assigned,
        previous,
        floor,
    } = &mut member.record;
    if assigned
        .as_ref()
        .is_some_and(|assigned| member.report.counter >= assigned.counter)
    {
        *previous = None;
    }
    let reached = member
        .report
        .committed
        .and_then(|digest| floors.get(&digest));
    *floor = (*floor).max(reached.copied().unwrap_or_default());
    member.record != before
}

/// When an assignment is renewed: between a half and three quarters of its time, spread by the device's identity.
fn renewal(uuid: &Uuid, assigned: &Assigned) -> UnixTime {
    let lease_s = assigned.expires.0.saturating_sub(assigned.issued.0);
    let word = uuid.0.first_chunk::<8>().copied().unwrap_or_default();
    let spread = mix(u64::from_be_bytes(word)) % (lease_s / 4).max(1);
    UnixTime(assigned.issued.0.saturating_add(lease_s / 2 + spread))
}

impl Facts<'_> {
    fn standing(&self, number: u64) -> Standing {
        let rollout = &self.rollouts[&number];
        let (digest, told) = (self.digest(number), self.is_told(number));
        let stage = if rollout.reverts() {
            Stage::Waiting
        } else if digest.is_some() && self.report.committed == digest {
            Stage::Succeeded
        } else if told && digest.is_some() && self.report.rejected == digest {
            Stage::Failed
        } else if told {
            Stage::Told
        } else {
            Stage::Waiting
        };
        Standing {
            release: number,
            wave: rollout.plan.wave_of(number, self.uuid, &self.device.tags),
            stage,
        }
    }
}

/// One device at one time.
struct Looking<'a> {
    facts: Facts<'a>,
    now: UnixTime,
}

impl Looking<'_> {
    fn settle(&self, choice: Choice) -> Outcome {
        let mut outcome = match choice.release {
            Some(release) => self.towards(release),
            None => self.keep(None),
        };
        outcome.withheld = outcome.withheld.or(choice.withheld);
        let Some(counter) = self.next_counter() else {
            outcome.withheld = outcome
                .assign
                .take()
                .map_or(outcome.withheld, |_| Some(Withheld::CounterExhausted));
            return outcome;
        };
        if let Some((assigned, _)) = &mut outcome.assign {
            assigned.counter = counter;
        }
        outcome
    }

    /// What to do so that the device runs `release`.
    fn towards(&self, release: u64) -> Outcome {
        let (next, settings) = match self.assignment(release) {
            Ok(assignment) => assignment,
            Err(withheld) => return self.keep(Some(withheld)),
        };
        let Some(assigned) = &self.facts.record.assigned else {
            return assign(next, settings, None);
        };
        if assigned.asks_the_same(&next) {
            return self.withdraw_or_keep();
        }
        if !assigned.disturbs(&next) {
            return assign(next, settings, self.facts.record.previous);
        }
        match self.opening() {
            Opening::From(opens) => self.wait(release, Some(opens)),
            Opening::Never => self.wait(release, None),
            Opening::Always | Opening::Until(_) => {
                let unseen = self.facts.record.previous;
                let previous = unseen.unwrap_or(Previous {
                    release: assigned.release,
                    document: assigned.document,
                });
                let mut outcome = assign(next, settings, Some(previous));
                outcome.closes = self.closes();
                outcome
            }
        }
    }

    fn wait(&self, release: u64, opens: Option<UnixTime>) -> Outcome {
        let mut outcome = self.withdraw_or_keep();
        outcome.withheld = Some(Withheld::Window { release, opens });
        outcome.opens = opens;
        outcome
    }

    /// Keeps the assignment, unless the device did not begin it before its window closed.
    fn withdraw_or_keep(&self) -> Outcome {
        let record = self.facts.record;
        let (Some(assigned), Some(previous)) = (&record.assigned, record.previous) else {
            return self.keep(None);
        };
        let opens = match self.opening() {
            Opening::From(opens) => Some(opens),
            Opening::Never => None,
            Opening::Always | Opening::Until(_) => {
                let mut outcome = self.keep(None);
                outcome.closes = self.closes();
                return outcome;
            }
        };
        let back = previous.release != assigned.release;
        let back = back && self.facts.may_return_to(previous);
        let Some((next, settings)) = self.assignment(previous.release).ok().filter(|_| back) else {
            return self.keep(None);
        };
        let mut outcome = assign(next, settings, None);
        outcome.withdrawn = Some(assigned.release);
        outcome.withheld = Some(Withheld::Window {
            release: assigned.release,
            opens,
        });
        outcome.opens = opens;
        outcome
    }

    /// Keeps the assignment, and renews it when that is due.
    fn keep(&self, withheld: Option<Withheld>) -> Outcome {
        let kept = Outcome {
            withheld,
            ..Outcome::default()
        };
        let Some(assigned) = &self.facts.record.assigned else {
            return kept;
        };
        let behind = self.reported_counter() > assigned.counter;
        if !behind && renewal(self.facts.uuid, assigned) > self.now {
            return kept;
        }
        let renewed = Assigned {
            issued: self.now,
            expires: self.expires(),
            ..assigned.clone()
        };
        Outcome {
            assign: Some((renewed, Vec::new())),
            previous: self.facts.record.previous,
            ..kept
        }
    }

    fn assignment(&self, number: u64) -> Result<(Assigned, Vec<Filled>), Withheld> {
        let release = self.facts.releases.get(&number);
        let document = release.and_then(|release| self.facts.document(release));
        let document = document.ok_or(Withheld::NoDocument { release: number })?;
        let device = self.facts.device;
        let settings = fill(document, &self.facts.fleet.variables, &device.variables);
        let settings = settings.map_err(|(component, rejection)| Withheld::Settings {
            release: number,
            component,
            rejection,
        })?;
        let digests = settings
            .iter()
            .map(|filled| (filled.position, filled.digest));
        let assigned = Assigned {
            release: number,
            document: document.digest,
            settings: digests.collect(),
            counter: 0,
            issued: self.now,
            expires: self.expires(),
            attempt: device.attempt,
            override_locks: device.override_locks,
        };
        Ok((assigned, settings))
    }

    fn opening(&self) -> Opening {
        let fleet = self.facts.fleet;
        let windows = self.facts.device.windows.as_ref().unwrap_or(&fleet.windows);
        let zone = self.facts.device.zone.as_ref().unwrap_or(&fleet.zone);
        opening(windows, zone, self.now)
    }

    fn closes(&self) -> Option<UnixTime> {
        match self.opening() {
            Opening::Until(closes) => Some(closes),
            Opening::Always | Opening::From(_) | Opening::Never => None,
        }
    }

    fn expires(&self) -> UnixTime {
        UnixTime(
            self.now
                .0
                .saturating_add(u64::from(self.facts.fleet.lease_s)),
        )
    }

    /// What the device says it has seen; nonsense counts for nothing.
    fn reported_counter(&self) -> u64 {
        let reported = self.facts.report.counter;
        if reported <= COUNTER { reported } else { 0 }
    }

    /// Higher than any that was given out or seen.
    fn next_counter(&self) -> Option<u64> {
        let given = self.facts.record.assigned.as_ref().map_or(0, |a| a.counter);
        let highest = given.max(self.reported_counter());
        (highest < COUNTER).then(|| highest + 1)
    }
}

fn assign(next: Assigned, settings: Vec<Filled>, previous: Option<Previous>) -> Outcome {
    Outcome {
        assign: Some((next, settings)),
        previous,
        ..Outcome::default()
    }
}
