//! Carries out what [`plan`](crate::plan) asks for and judges trials by the answers.
//!
//! What must stay true:
//! - no step is issued while the state that it depends on is not saved;
//! - an instance has at most one step under way;
//! - a failed step is put off, never repeated at once, and never given up for the committed release.

mod answers;
mod judge;

use crate::action::{Action, InstanceRef};
use crate::agent::Wake;
use crate::context::{Backoff, Context};
use crate::event::StepId;
use crate::id::Name;
use crate::limits::{FETCHES, PROBE_INTERVAL, PROBE_INTERVAL_IDLE};
use crate::note::Note;
use crate::plan::{self, Instance, Lock, Locks, Presence, Situation, Step};
use crate::record::{Record, State};
use crate::soonest::Soonest;
use crate::table::{Table, Verb};
use crate::target::{Part, Strategy, Target};
use crate::time::{Duration, Instant};
use crate::trial::{Assigned, Boot};
use crate::wire::Reason;

/// Whether the platform has told what is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inventory {
    Wanted,
    UnderWay,
    Taken,
}

#[derive(Debug)]
// As with the agent, what is small comes first.
#[repr(C)]
pub(crate) struct Reconcile<const COMPONENTS: usize> {
    /// When the trial began to disturb, in this life; never before it does.
    trial_since: Instant,
    /// Puts off the next inventory after one that failed.
    inventory_hold: Backoff,
    inventory: Inventory,
    /// Whether the fleet was reached since the trial began to disturb.
    reached: bool,
    reverting: bool,
    held: bool,
    /// The record of a trial cannot be saved after a boot: the committed release runs meanwhile.
    shelved: bool,
    /// The step that is told next is of the committed release, which does not run while a trial is prepared.
    reviving: bool,
    /// What is on the device is left as it is: what it was meant to run cannot be read.
    paused: bool,
    /// Whether a step of the trial was issued in this life.
    touched: bool,
    pub(crate) table: Table<COMPONENTS>,
    pub(crate) locks: Locks,
    pub(crate) state: State<COMPONENTS>,
}

/// A step that is ready to be told to the platform; the action borrows what it names.
pub(crate) enum Issue {
    Inventory,
    Component(StepId, Verb, usize),
    Instance(StepId, Verb, usize),
}

impl<const COMPONENTS: usize> Reconcile<COMPONENTS> {
    /// Not inlined, so that it is written straight to where it stays.
    #[inline(never)]
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(),
            locks: Locks::new(),
            table: Table::new(),
            inventory: Inventory::Wanted,
            inventory_hold: Backoff::default(),
            trial_since: Instant::NEVER,
            reached: false,
            reverting: false,
            held: false,
            shelved: false,
            reviving: false,
            paused: false,
            touched: false,
        }
    }

    /// Leaves what is on the device as it is until a target is assigned.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Whether it is not known what the device is meant to run.
    pub(crate) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the platform failed to tell what is on the device.
    pub(crate) const fn is_blind(&self) -> bool {
        self.inventory_hold.failures() > 0
    }

    /// Takes note of a boot. Called once, before anything else.
    pub(crate) fn boot(&mut self, cx: &mut Context) {
        match self.state.count_boot() {
            Boot::NoTrial => return,
            Boot::Resumed(boots) => {
                self.trial_since = cx.now;
                cx.note(Note::TrialResumed(boots));
            }
            Boot::TooMany => self.reject(cx, Reason::Reboots),
        }
        cx.changed(Record::State);
    }

    /// Takes an assigned target.
    pub(crate) fn assign(&mut self, cx: &mut Context, target: Target<COMPONENTS>) {
        let (release, override_locks) = (target.release, target.override_locks);
        self.paused = false;
        if override_locks && !self.locks.held().is_empty() {
            cx.note(Note::LocksOverridden);
        }
        match self.state.assign(target) {
            Assigned::Known => return,
            Assigned::RejectedBefore => {
                cx.note(Note::TargetRejectedBefore(release));
                return;
            }
            Assigned::Back => self.reverting = true,
            Assigned::New => cx.note(Note::TargetAccepted(release)),
        }
        self.forget_trial();
        cx.changed(Record::State);
    }

    /// Nothing that was counted against one trial counts against the next.
    fn forget_trial(&mut self) {
        self.touched = false;
        self.shelved = false;
        self.trial_since = Instant::NEVER;
        self.reached = false;
        for row in 0..3 * COMPONENTS {
            let track = self.table.track_mut(row);
            track.failures = 0;
            track.confirmed = false;
            track.hold.reset();
        }
    }

    pub(crate) fn reject(&mut self, cx: &mut Context, reason: Reason) {
        if let Some(rejected) = self.state.reject(reason) {
            cx.note(Note::Rejected {
                release: rejected.release,
                reason,
            });
            self.reverting = true;
            self.forget_trial();
            cx.changed(Record::State);
        }
    }

    /// The fleet was reached; it counts for a trial that has begun to disturb.
    pub(crate) fn reached_fleet(&mut self) {
        self.reached |= self.trial_since < Instant::NEVER;
    }

    /// Marks a component to be stopped and started; whether there is such a component.
    pub(crate) fn restart(&mut self, name: &Name) -> bool {
        let mut goal = self.goal().iter();
        let Some(part) = goal.find(|part| part.component.name == *name) else {
            return false;
        };
        if let Some(row) = self.table.row_of(part) {
            self.table.set_restart(row, true);
        }
        true
    }

    /// Whether the device may be restarted now.
    pub(crate) fn may_reboot(&self) -> bool {
        self.locks_in_force().is_empty()
    }

    fn locks_in_force(&self) -> &[Lock] {
        match self.state.goal() {
            Some(target) if target.override_locks => &[],
            Some(_) | None => self.locks.held(),
        }
    }

    /// The components that should run now.
    pub(crate) fn goal(&self) -> &[Part] {
        if self.shelved || self.reviving {
            self.state.keep()
        } else {
            self.state.parts()
        }
    }

    /// The components that must not be lost beside the goal.
    fn keep(&self) -> &[Part] {
        if self.shelved || self.reviving {
            self.state.parts()
        } else {
            self.state.keep()
        }
    }

    /// Whether the goal is on trial.
    #[inline(never)]
    fn on_trial(&self) -> bool {
        self.state.trial.is_some() && !self.shelved && !self.reviving
    }

    pub(crate) fn situation(&self) -> Situation<'_> {
        Situation {
            goal: self.goal(),
            keep: self.keep(),
            on_trial: self.on_trial(),
            instances: self.table.instances(),
            locks: self.locks_in_force(),
        }
    }

    /// Whether steps may be issued: what they depend on is saved, and what is on the device is known.
    fn may_act(&self, cx: &Context) -> bool {
        let is_saved = cx.is_saved(Record::State) && cx.is_saved(Record::Trust);
        self.inventory == Inventory::Taken && !self.paused && (is_saved || self.shelved)
    }

    /// Takes note of whether the state is saved.
    ///
    /// When a trial of an earlier life cannot go on because its boot cannot be recorded, the committed release runs: that depends on nothing new.
    pub(crate) fn state_stored(&mut self, is_saved: bool) {
        self.shelved = !is_saved && self.state.has_started() && !self.touched;
    }

    /// Before anything that happens is looked at.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.reviving = false;
        self.locks.expire(now);
    }

    /// The next step to tell the platform, if there is one to take now.
    pub(crate) fn next_issue(&mut self, cx: &mut Context) -> Option<Issue> {
        self.reviving = false;
        if self.inventory == Inventory::Wanted && self.inventory_hold.is_over(cx.now) {
            self.inventory = Inventory::UnderWay;
            return Some(Issue::Inventory);
        }
        if self.may_act(cx) {
            self.judge(cx);
        }
        let issue = self.revive(cx);
        if issue.is_some() || !self.may_act(cx) {
            return issue;
        }
        self.tell_of_holds(cx);
        let issue = self.next_step(cx);
        let issue = issue.or_else(|| self.next_probe(cx));
        issue.or_else(|| self.next_confirm(cx))
    }

    fn tell_of_holds(&mut self, cx: &mut Context) {
        let held = plan::is_held(&self.situation());
        if held && !self.held {
            cx.note(Note::HeldByLock);
        }
        self.held = held;
    }

    /// Whether an update lock holds a step off.
    pub(crate) const fn is_held(&self) -> bool {
        self.held
    }

    /// Starts what is committed and does not run, as after a power cut, while a trial is only being prepared: that may take for ever.
    ///
    /// It depends on nothing that is still to be saved, and stops nothing.
    #[inline(never)]
    fn revive(&mut self, cx: &mut Context) -> Option<Issue> {
        let is_known = self.inventory == Inventory::Taken && !self.paused;
        if !is_known || self.touched || !self.on_trial() || self.state.has_started() {
            return None;
        }
        self.reviving = true;
        let step = self.allowed_step(cx.now);
        self.reviving = step.is_some();
        self.begin(cx, step?)
    }

    /// Whether a committed component runs until what takes its place is ready.
    fn is_to_run_until(&self, part: &Part) -> bool {
        let mut trial = self.state.parts().iter().map(|part| &part.component);
        let successor = trial.find(|component| component.name == part.component.name);
        !part.component.kind.restarts_device()
            && successor.is_none_or(|successor| match successor.strategy {
                Strategy::DownloadThenKill | Strategy::HandOver => true,
                Strategy::KillThenDownload | Strategy::DeleteThenDownload => false,
            })
    }

    fn next_step(&mut self, cx: &mut Context) -> Option<Issue> {
        let step = self.allowed_step(cx.now)?;
        if self.disturbs(step) && self.on_trial() {
            self.touched = true;
        }
        if self.touched && self.on_trial() && !self.state.has_started() {
            let release = self.state.start_trial()?;
            cx.note(Note::TrialStarted(release));
            cx.changed(Record::State);
            self.trial_since = cx.now;
            return None;
        }
        self.begin(cx, step)
    }

    /// The first step of the plan that is not under way, not put off and not one too many; of what is revived, starts alone.
    #[inline(never)]
    fn allowed_step(&self, now: Instant) -> Option<Step> {
        let situation = self.situation();
        let is_free = |step: &Step| match self.row(*step) {
            Some(row) => {
                let track = self.table.track(row);
                track.busy.is_none() && track.hold.is_over(now)
            }
            None => true,
        };
        let fetches = self.table.count(Verb::Fetch);
        let fits = |step: &Step| match step {
            Step::Fetch(_) => !self.reviving && fetches < FETCHES,
            Step::Start(at) => !self.reviving || self.is_to_run_until(&self.goal()[*at]),
            Step::Stage(_) | Step::Stop(_) | Step::Remove(_) => !self.reviving,
        };
        plan::steps(&situation).find(|step| is_free(step) && fits(step))
    }

    fn row(&self, step: Step) -> Option<usize> {
        match step {
            Step::Fetch(at) | Step::Stage(at) | Step::Start(at) => {
                self.table.row_of(&self.goal()[at])
            }
            Step::Stop(row) | Step::Remove(row) => Some(row),
        }
    }

    /// Whether a step touches what ran before the trial.
    fn disturbs(&self, step: Step) -> bool {
        match step {
            Step::Fetch(_) | Step::Stage(_) => false,
            Step::Start(_) | Step::Stop(_) => true,
            Step::Remove(row) => {
                let instance = self.table.instance(row);
                instance.is_some_and(|i| self.state.keep().iter().any(|part| i.is(part)))
            }
        }
    }

    fn begin(&mut self, cx: &mut Context, step: Step) -> Option<Issue> {
        let (verb, at) = match step {
            Step::Fetch(at) => (Verb::Fetch, at),
            Step::Stage(at) => (Verb::Stage, at),
            Step::Start(at) => (Verb::Start, at),
            Step::Stop(row) => (Verb::Stop, row),
            Step::Remove(row) => (Verb::Remove, row),
        };
        if let Step::Stop(row) | Step::Remove(row) = step {
            return Some(Issue::Instance(self.table.begin(row, verb), verb, row));
        }
        let row = self.row_for(cx, at)?;
        if verb == Verb::Start {
            // From here on its code may run.
            self.table.set(row, Presence::Starting);
            let track = self.table.track_mut(row);
            track.started_at = cx.now;
            track.healthy_since = None;
        }
        Some(Issue::Component(self.table.begin(row, verb), verb, at))
    }

    /// The row of a component of the goal, made if there is none yet.
    fn row_for(&mut self, cx: &mut Context, at: usize) -> Option<usize> {
        let part = &self.goal()[at];
        let known = self.table.row_of(part);
        if known.is_some() {
            return known;
        }
        let instance = Instance {
            name: part.component.name.clone(),
            digest: part.instance,
            kind: part.component.kind,
            presence: Presence::Missing,
            no_space: false,
            restart: false,
        };
        let row = self.table.add(instance);
        if row.is_none() {
            cx.note(Note::InventoryOverflow);
        }
        row
    }

    fn next_probe(&mut self, cx: &Context) -> Option<Issue> {
        let (row, ..) = self.table.rows().find(|(_, instance, track)| {
            instance.presence.is_running() && track.busy.is_none() && track.probe_at <= cx.now
        })?;
        let interval = self.probe_interval(row);
        self.table.track_mut(row).probe_at = cx.now + interval;
        Some(Issue::Instance(
            self.table.begin(row, Verb::Probe),
            Verb::Probe,
            row,
        ))
    }

    fn probe_interval(&self, row: usize) -> Duration {
        let presence = self.table.instance(row).map(|instance| instance.presence);
        if !self.on_trial() && presence == Some(Presence::Healthy) {
            PROBE_INTERVAL_IDLE
        } else {
            PROBE_INTERVAL
        }
    }

    pub(crate) fn action(&self, issue: Issue) -> Action<'_> {
        match issue {
            Issue::Inventory => Action::TakeInventory,
            Issue::Component(id, verb, at) => {
                let component = &self.goal()[at].component;
                match verb {
                    Verb::Fetch => Action::Fetch(id, component),
                    Verb::Stage => Action::Stage(id, component),
                    Verb::Start => Action::Start(id, component),
                    Verb::Confirm => Action::Confirm(id, component),
                    Verb::Stop | Verb::Probe | Verb::Remove => {
                        unreachable!("these name an instance")
                    }
                }
            }
            Issue::Instance(id, verb, row) => {
                let instance = self.table.instance(row).expect("the row was just begun");
                let instance = InstanceRef {
                    name: &instance.name,
                    instance: instance.digest,
                    kind: instance.kind,
                    presence: instance.presence,
                };
                match verb {
                    Verb::Stop => Action::Stop(id, instance),
                    Verb::Probe => Action::Probe(id, instance),
                    Verb::Remove => Action::Remove(id, instance),
                    Verb::Fetch | Verb::Stage | Verb::Start | Verb::Confirm => {
                        unreachable!("these name a component")
                    }
                }
            }
        }
    }

    /// When something here has to be looked at again, if nothing happens before.
    pub(crate) fn deadlines(&self, cx: &Context, soonest: &mut Soonest) {
        if self.inventory == Inventory::Wanted {
            soonest.offer(Wake::Components, self.inventory_hold.until());
        }
        if !self.may_act(cx) {
            return;
        }
        for (_, instance, track) in self.table.rows() {
            if track.busy.is_none() {
                soonest.offer(Wake::Components, track.hold.until());
                if instance.presence.is_running() {
                    soonest.offer(Wake::Components, track.probe_at);
                }
            }
        }
        for lock in self.locks.held() {
            soonest.offer(Wake::Components, lock.expires.unwrap_or(Instant::NEVER));
        }
        self.trial_deadlines(soonest);
    }
}
