//! A device that carries steps out, and what must hold of each step.

use lightship_core::id::{Digest, Name};
use lightship_core::plan::{Instance, Lock, Locks, Presence, Situation, Step};
use lightship_core::target::{
    After, Artifact, Component, Condition, Health, Kind, Mode, Part, Strategy,
};

/// What is wanted and what must be kept, which no step changes.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) goal: Vec<Part>,
    pub(crate) old: Vec<Part>,
    /// Whether the old parts are the committed release.
    pub(crate) keep_old: bool,
    pub(crate) on_trial: bool,
    pub(crate) locks: Locks,
}

impl Wish {
    pub(crate) fn situation<'a>(&'a self, instances: &'a [Option<Instance>]) -> Situation<'a> {
        Situation {
            goal: &self.goal,
            keep: if self.keep_old { &self.old } else { &[] },
            on_trial: self.on_trial,
            instances,
            locks: self.locks.held(),
        }
    }
}

pub(crate) fn part(position: usize, version: u8, strategy: Strategy, kind: Kind) -> Part {
    let component = Component {
        name: Name::new(&format!("c{position}")).unwrap(),
        kind,
        artifact: Artifact {
            digest: Digest([version; 32]),
            size: 1,
        },
        spec: Digest([version; 32]),
        settings: None,
        mode: Mode::Service,
        strategy,
        health: Health::default(),
        after: heapless::Vec::new(),
    };
    Part::from(component)
}

pub(crate) fn depend(part: &mut Part, on: usize, condition: Condition) {
    let after = After {
        component: u8::try_from(on).unwrap(),
        condition,
    };
    part.component.after.push(after).unwrap();
}

pub(crate) fn instance(part: &Part, presence: Presence) -> Instance {
    Instance {
        name: part.component.name.clone(),
        digest: part.instance,
        kind: part.component.kind,
        presence,
        no_space: false,
        restart: false,
    }
}

fn find<'a>(instances: &'a [Option<Instance>], part: &Part) -> Option<&'a Instance> {
    instances.iter().flatten().find(|i| i.is(part))
}

/// Panics when a step breaks a rule of the plan.
pub(crate) fn check(wish: &Wish, instances: &[Option<Instance>], step: Step) {
    let context = || format!("{step:?} of {wish:#?}\nwith {instances:#?}");
    let prepared = |part: &Part| {
        matches!(
            part.component.strategy,
            Strategy::KillThenDownload | Strategy::DeleteThenDownload
        ) || find(instances, part).is_some_and(|i| i.presence.is_staged())
    };
    let may_disturb = !wish.on_trial || wish.goal.iter().all(prepared);
    match step {
        Step::Fetch(_) | Step::Stage(_) => {}
        Step::Start(at) => {
            let part = &wish.goal[at];
            let others = instances.iter().flatten();
            let mut others = others.filter(|i| i.name == part.component.name && !i.is(part));
            let alone = !others.any(|i| i.presence.is_running());
            let beside = part.component.strategy == Strategy::HandOver
                || part.component.kind.restarts_device();
            assert!(alone || beside, "two versions would run: {}", context());
            assert!(may_disturb, "started before all is staged: {}", context());
            for after in &part.component.after {
                let other = find(instances, &wish.goal[usize::from(after.component)]);
                let presence = other.map_or(Presence::Missing, |i| i.presence);
                let met = match after.condition {
                    Condition::Started => presence.is_running() || presence == Presence::Completed,
                    Condition::Healthy => {
                        matches!(presence, Presence::Healthy | Presence::Completed)
                    }
                    Condition::Completed => presence == Presence::Completed,
                };
                assert!(met, "started too early: {}", context());
            }
            let restarts = part.component.kind.restarts_device();
            assert!(
                !restarts || wish.locks.held().is_empty(),
                "a lock covers the device: {}",
                context()
            );
        }
        Step::Stop(row) => {
            let instance = instances[row].as_ref().unwrap();
            let covered = |lock: &Lock| {
                lock.covers
                    .as_ref()
                    .is_none_or(|name| *name == instance.name)
            };
            let locked = wish.locks.held().iter().any(covered);
            let running = instance.presence.is_running();
            assert!(!(locked && running), "a lock covers it: {}", context());
            let of_goal = wish.goal.iter().any(|part| instance.is(part));
            let successor = wish.goal.iter().find(|p| p.component.name == instance.name);
            let successor = successor.and_then(|part| find(instances, part));
            let replaced = successor
                .is_some_and(|i| i.presence.is_active() || i.presence == Presence::Completed);
            assert!(
                may_disturb || of_goal || replaced || !running,
                "stopped before all is staged: {}",
                context()
            );
        }
        Step::Remove(row) => {
            let instance = instances[row].as_ref().unwrap();
            assert!(!instance.presence.is_active(), "it runs: {}", context());
            assert!(
                !wish.goal.iter().any(|part| instance.is(part)),
                "it is wanted: {}",
                context()
            );
            if wish.keep_old && wish.old.iter().any(|part| instance.is(part)) {
                let successor = wish.goal.iter().find(|p| p.component.name == instance.name);
                let allowed = successor.is_some_and(|part| {
                    part.component.strategy == Strategy::DeleteThenDownload
                        && find(instances, part).is_some_and(|i| i.no_space)
                });
                assert!(allowed, "the committed release must stay: {}", context());
                assert!(may_disturb, "removed before all is staged: {}", context());
            }
        }
    }
}

/// Carries a step out with success.
pub(crate) fn succeed(wish: &Wish, instances: &mut [Option<Instance>], step: Step) {
    let set = |instances: &mut [Option<Instance>], at: usize, presence| {
        let part = &wish.goal[at];
        let known = instances
            .iter()
            .position(|i| i.as_ref().is_some_and(|i| i.is(part)));
        let row = known
            .or_else(|| instances.iter().position(Option::is_none))
            .expect("room for an instance");
        instances[row] = Some(instance(part, presence));
    };
    match step {
        Step::Fetch(at) => set(instances, at, Presence::Fetched),
        Step::Stage(at) => set(instances, at, Presence::Staged),
        Step::Start(at) if wish.goal[at].component.kind.restarts_device() => {
            // The device restarts: containers are stopped, the new image runs.
            for other in instances.iter_mut().flatten() {
                if other.presence.is_active() {
                    other.presence = Presence::Staged;
                }
            }
            let restarting = wish.goal[..at].iter().enumerate();
            let earlier: Vec<usize> = restarting
                .filter(|(_, part)| part.component.kind.restarts_device())
                .map(|(i, _)| i)
                .collect();
            for i in earlier {
                set(instances, i, Presence::Healthy);
            }
            set(instances, at, Presence::Healthy);
        }
        Step::Start(at) => set(instances, at, Presence::Starting),
        Step::Stop(row) => {
            let instance = instances[row].as_mut().expect("it is there");
            instance.presence = Presence::Staged;
            instance.restart = false;
        }
        Step::Remove(row) => instances[row] = None,
    }
}

/// Lets a step fail in the worst way that its answer allows.
pub(crate) fn fail(wish: &Wish, instances: &mut [Option<Instance>], step: Step, chance: u8) {
    let row = |at: usize, instances: &[Option<Instance>]| {
        let part = &wish.goal[at];
        let known = instances
            .iter()
            .position(|i| i.as_ref().is_some_and(|i| i.is(part)));
        known.or_else(|| instances.iter().position(Option::is_none))
    };
    match step {
        Step::Fetch(at) => {
            let row = row(at, instances).expect("room for an instance");
            let mut failed = instance(&wish.goal[at], Presence::Missing);
            failed.no_space = chance.is_multiple_of(2);
            instances[row] = Some(failed);
        }
        // What was fetched turns out to be corrupt.
        Step::Stage(at) if chance.is_multiple_of(2) => {
            let row = row(at, instances).expect("it is there");
            instances[row] = Some(instance(&wish.goal[at], Presence::Missing));
        }
        Step::Stage(_) | Step::Start(_) | Step::Stop(_) | Step::Remove(_) => {}
    }
}
