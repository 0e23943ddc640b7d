//! What to do next: a pure, total function from what is wanted and what is there to the steps that may be taken now.
//!
//! A *situation* holds the components that should run (the goal), the components whose parts must not be lost (the committed release during a trial), every instance on the device, and the update locks.
//! [`steps`] gives all steps that are allowed now; each may be carried out alongside the others, and failing, it is simply asked for again.
//!
//! What must stay true (design, section 9.2), for any situation and whichever steps fail:
//! - two instances of one name never run at once, but for a successor with [`Strategy::HandOver`];
//! - an instance that a lock covers is never stopped while it runs;
//! - an instance to keep is never removed, but for a successor with [`Strategy::DeleteThenDownload`] that the platform had no space for;
//! - while a release is on trial, nothing that runs is disturbed before everything that can be fetched beforehand is staged;
//! - carrying out the steps leads to [`is_settled`] and stays there.

use crate::id::{Digest, Name};
use crate::limits::LOCKS;
use crate::target::{Condition, Kind, Mode, Part, Strategy};
use crate::time::Instant;
use heapless::Vec;

/// What is known of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Presence {
    /// Nothing usable is there.
    Missing,
    /// The artifact is there, whole and verified.
    Fetched,
    /// Ready to start; also: stopped.
    Staged,
    /// Tried by the boot loader, which went back to the old image.
    RolledBack,
    /// Started, health not known yet.
    Starting,
    /// Runs, and its health check passes.
    Healthy,
    /// Runs, and its health check fails.
    Unhealthy,
    /// Stopped by itself, and the platform does not start it again.
    Exited,
    /// Ran to completion with success.
    Completed,
}

impl Presence {
    /// Whether it may hold resources that must be given back with a stop.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Starting | Self::Healthy | Self::Unhealthy | Self::Exited => true,
            Self::Missing | Self::Fetched | Self::Staged | Self::RolledBack | Self::Completed => {
                false
            }
        }
    }

    /// Whether its code runs.
    pub const fn is_running(self) -> bool {
        match self {
            Self::Starting | Self::Healthy | Self::Unhealthy => true,
            Self::Missing
            | Self::Fetched
            | Self::Staged
            | Self::RolledBack
            | Self::Exited
            | Self::Completed => false,
        }
    }

    /// Whether nothing more has to be fetched or staged.
    pub const fn is_staged(self) -> bool {
        match self {
            Self::Missing | Self::Fetched => false,
            Self::Staged
            | Self::RolledBack
            | Self::Starting
            | Self::Healthy
            | Self::Unhealthy
            | Self::Exited
            | Self::Completed => true,
        }
    }
}

/// One runnable version of a component on the device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instance {
    /// The component's name.
    pub name: Name,
    /// [`Part::instance`]: which version it is.
    pub digest: Digest,
    /// What it is made of.
    pub kind: Kind,
    /// What is known of it.
    pub presence: Presence,
    /// Whether the platform had no room for it the last time it was fetched.
    pub no_space: bool,
    /// Whether somebody asked for it to be stopped and started.
    pub restart: bool,
}

impl Instance {
    /// Whether this is the instance of that part.
    pub fn is(&self, part: &Part) -> bool {
        self.digest == part.instance && self.name == part.component.name
    }
}

/// An application's request to be left alone (design, section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lock {
    /// Who holds it; one lock for each owner.
    pub owner: Name,
    /// The component it covers; without it, all.
    pub covers: Option<Name>,
    /// When it ends by itself.
    pub expires: Option<Instant>,
}

/// The locks that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Locks(Vec<Lock, LOCKS>);

impl Locks {
    /// No locks.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes or renews a lock.
    ///
    /// # Errors
    ///
    /// Gives the lock back when [`LOCKS`] others are held.
    pub fn take(&mut self, lock: Lock) -> Result<(), Lock> {
        self.release(&lock.owner);
        self.0.push(lock)
    }

    /// Lets a lock go; whether there was one.
    pub fn release(&mut self, owner: &Name) -> bool {
        self.drop_first(|lock| lock.owner == *owner)
    }

    /// Lets go what has ended by `now`.
    pub fn expire(&mut self, now: Instant) {
        while self.drop_first(|lock| lock.expires.is_some_and(|end| end <= now)) {}
    }

    fn drop_first(&mut self, is_it: impl Fn(&Lock) -> bool) -> bool {
        let found = self.0.iter().position(is_it);
        if let Some(at) = found {
            self.drop_at(at);
        }
        found.is_some()
    }

    #[inline(never)]
    fn drop_at(&mut self, at: usize) {
        self.0.swap_remove(at);
    }

    /// All of them, in no order.
    pub fn held(&self) -> &[Lock] {
        &self.0
    }
}

/// All that [`steps`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What should run; empty when nothing should.
    pub goal: &'a [Part],
    /// What must not be lost; empty when the goal is all there is to keep.
    pub keep: &'a [Part],
    /// Whether the goal is on trial, so that what runs is left alone until the goal is staged.
    pub on_trial: bool,
    /// What is there, at most once each.
    pub instances: &'a [Option<Instance>],
    /// What holds steps off; empty when the fleet overrides locks.
    pub locks: &'a [Lock],
}

/// One step that may be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Step {
    /// Fetch the artifact of the goal's component at this position.
    Fetch(usize),
    /// Make the goal's component at this position ready to start.
    Stage(usize),
    /// Start the goal's component at this position.
    Start(usize),
    /// Stop the instance at this position.
    Stop(usize),
    /// Remove the instance at this position and what only it uses.
    Remove(usize),
}

/// What keeps a component or an instance from its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Take(Step),
    Held,
    Wait,
}

/// The steps that may be taken now, those of the goal first.
pub fn steps<'a>(situation: &'a Situation<'a>) -> impl Iterator<Item = Step> + 'a {
    nexts(situation).filter_map(|next| match next {
        Next::Take(step) => Some(step),
        Next::Held | Next::Wait => None,
    })
}

/// Whether a lock is all that keeps some step from being taken.
pub fn is_held(situation: &Situation<'_>) -> bool {
    nexts(situation).any(|next| next == Next::Held)
}

/// Whether the goal runs, whole and healthy, and nothing else does.
///
/// Left-overs that are still to be removed do not matter.
pub fn is_settled(situation: &Situation<'_>) -> bool {
    let up = (0..situation.goal.len()).all(|i| is_up(situation, i));
    let mut others = situation.others();
    up && !others.any(|(_, instance)| instance.presence.is_active())
}

/// Whether the goal's component at `position` does what it is there for.
pub fn is_up(situation: &Situation<'_>, position: usize) -> bool {
    match (
        situation.presence(position),
        situation.goal[position].component.mode,
    ) {
        (Presence::Healthy, Mode::Service) | (Presence::Completed, Mode::Job) => true,
        (
            Presence::Missing
            | Presence::Fetched
            | Presence::Staged
            | Presence::RolledBack
            | Presence::Starting
            | Presence::Unhealthy
            | Presence::Exited,
            _,
        )
        | (Presence::Healthy, Mode::Job)
        | (Presence::Completed, Mode::Service) => false,
    }
}

/// Of the goal, then of what is there.
fn nexts<'a>(situation: &'a Situation<'a>) -> impl Iterator<Item = Next> + 'a {
    let goal = situation.goal.len();
    let all = 0..goal + situation.instances.len();
    all.map(move |i| match i.checked_sub(goal) {
        None => situation.next_of_goal(i),
        Some(i) => situation.next_of_instance(i),
    })
}

impl<'a> Situation<'a> {
    fn there(&self) -> impl Iterator<Item = (usize, &'a Instance)> + use<'a> {
        let all = self.instances.iter().enumerate();
        all.filter_map(|(i, instance)| instance.as_ref().map(|instance| (i, instance)))
    }

    /// The instance of the goal's component at `position`.
    fn instance(&self, position: usize) -> Option<&'a Instance> {
        let part = &self.goal[position];
        let mut there = self.there();
        there.find_map(|(_, instance)| instance.is(part).then_some(instance))
    }

    fn presence(&self, position: usize) -> Presence {
        self.instance(position)
            .map_or(Presence::Missing, |instance| instance.presence)
    }

    /// Position in the goal of the component that this is an instance of.
    fn in_goal(&self, instance: &Instance) -> Option<usize> {
        self.goal.iter().position(|part| instance.is(part))
    }

    fn is_kept(&self, instance: &Instance) -> bool {
        self.keep.iter().any(|part| instance.is(part))
    }

    /// Instances that are not of the goal.
    fn others(&self) -> impl Iterator<Item = (usize, &'a Instance)> + use<'_, 'a> {
        self.there()
            .filter(|(_, instance)| self.in_goal(instance).is_none())
    }

    /// Other instances of the goal's component at `position`.
    fn predecessors(&self, position: usize) -> impl Iterator<Item = &'a Instance> + use<'_, 'a> {
        let name = &self.goal[position].component.name;
        let others = self.others();
        others.filter_map(move |(_, instance)| (instance.name == *name).then_some(instance))
    }

    fn has_active_predecessor(&self, position: usize) -> bool {
        self.predecessors(position)
            .any(|instance| instance.presence.is_active())
    }

    /// Whether what runs may be disturbed: on trial, only when all that can be fetched beforehand is staged.
    fn may_disturb(&self) -> bool {
        let is_ready = |(i, part): (usize, &Part)| match part.component.strategy {
            Strategy::DownloadThenKill | Strategy::HandOver => self.presence(i).is_staged(),
            Strategy::KillThenDownload | Strategy::DeleteThenDownload => true,
        };
        !self.on_trial || self.goal.iter().enumerate().all(is_ready)
    }

    /// Whether all that the goal's component at `position` waits for is true.
    fn is_unblocked(&self, position: usize) -> bool {
        let mut after = self.goal[position].component.after.iter();
        after.all(|after| {
            let other = self.presence(usize::from(after.component));
            match after.condition {
                Condition::Started => other.is_running() || other == Presence::Completed,
                Condition::Healthy => matches!(other, Presence::Healthy | Presence::Completed),
                Condition::Completed => other == Presence::Completed,
            }
        })
    }

    fn next_of_goal(&self, position: usize) -> Next {
        match self.presence(position) {
            Presence::Missing => self.next_of_missing(position),
            Presence::Fetched => Next::Take(Step::Stage(position)),
            Presence::Staged => self.next_of_staged(position),
            Presence::RolledBack
            | Presence::Starting
            | Presence::Healthy
            | Presence::Unhealthy
            | Presence::Exited
            | Presence::Completed => Next::Wait,
        }
    }

    fn next_of_missing(&self, position: usize) -> Next {
        let fetch = Next::Take(Step::Fetch(position));
        match self.goal[position].component.strategy {
            Strategy::DownloadThenKill | Strategy::HandOver => fetch,
            Strategy::KillThenDownload | Strategy::DeleteThenDownload => {
                let active = self.has_active_predecessor(position);
                if active && !self.restarts_device(position) {
                    Next::Wait
                } else {
                    fetch
                }
            }
        }
    }

    fn restarts_device(&self, position: usize) -> bool {
        self.goal[position].component.kind.restarts_device()
    }

    fn next_of_staged(&self, position: usize) -> Next {
        let start = Next::Take(Step::Start(position));
        if !self.is_unblocked(position) || !self.may_disturb() {
            return Next::Wait;
        }
        if self.restarts_device(position) {
            return self.next_of_restart(position);
        }
        let hand_over = self.goal[position].component.strategy == Strategy::HandOver;
        if hand_over || !self.has_active_predecessor(position) {
            start
        } else {
            Next::Wait
        }
    }

    /// A component that restarts the device comes after all that do not, one at a time, and any lock holds it.
    fn next_of_restart(&self, position: usize) -> Next {
        let earlier = |i: usize| i < position || !self.restarts_device(i);
        let mut before = (0..self.goal.len()).filter(|&i| i != position && earlier(i));
        if !before.all(|i| is_up(self, i)) {
            Next::Wait
        } else if !self.locks.is_empty() {
            Next::Held
        } else {
            Next::Take(Step::Start(position))
        }
    }

    fn next_of_instance(&self, position: usize) -> Next {
        let Some(instance) = &self.instances[position] else {
            return Next::Wait;
        };
        match (self.in_goal(instance), instance.presence.is_active()) {
            (Some(_), true) if instance.restart || instance.presence == Presence::Exited => {
                self.stop(position, instance)
            }
            (Some(_), _) => Next::Wait,
            (None, true) if self.may_stop(instance) => self.stop(position, instance),
            (None, true) => Next::Wait,
            (None, false) if self.may_remove(instance) => Next::Take(Step::Remove(position)),
            (None, false) => Next::Wait,
        }
    }

    fn stop(&self, position: usize, instance: &Instance) -> Next {
        if instance.kind.restarts_device() {
            Next::Wait
        } else if instance.presence.is_running() && self.is_locked(&instance.name) {
            Next::Held
        } else {
            Next::Take(Step::Stop(position))
        }
    }

    fn is_locked(&self, name: &Name) -> bool {
        let covers = |lock: &Lock| lock.covers.as_ref().is_none_or(|covered| covered == name);
        self.locks.iter().any(covers)
    }

    fn successor(&self, instance: &Instance) -> Option<usize> {
        let is = |part: &Part| part.component.name == instance.name;
        self.goal.iter().position(is)
    }

    /// Whether it is time to stop an instance that is not of the goal.
    fn may_stop(&self, instance: &Instance) -> bool {
        let Some(successor) = self.successor(instance) else {
            return self.may_disturb();
        };
        let presence = self.presence(successor);
        match self.goal[successor].component.strategy {
            Strategy::HandOver => matches!(presence, Presence::Healthy | Presence::Completed),
            Strategy::DownloadThenKill => {
                let ready = presence == Presence::Staged
                    && self.may_disturb()
                    && self.is_unblocked(successor);
                ready || presence.is_active() || presence == Presence::Completed
            }
            Strategy::KillThenDownload | Strategy::DeleteThenDownload => self.may_disturb(),
        }
    }

    /// Whether an inactive instance that is not of the goal may be removed.
    fn may_remove(&self, instance: &Instance) -> bool {
        if !self.is_kept(instance) {
            return true;
        }
        let Some(successor) = self.successor(instance) else {
            return false;
        };
        self.goal[successor].component.strategy == Strategy::DeleteThenDownload
            && self.may_disturb()
            && self
                .instance(successor)
                .is_some_and(|new| new.presence == Presence::Missing && new.no_space)
    }
}
