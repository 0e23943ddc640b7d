//! What the platform answers.

use super::{Inventory, Reconcile};
use crate::context::Context;
use crate::event::{Failure, StepId};
use crate::id::Name;
use crate::limits::INVENTORY_TRIES;
use crate::note::Note;
use crate::plan::{Instance, Presence};
use crate::table::Verb;
use crate::target::{Component, Mode};
use crate::time::Duration;
use crate::wire::Reason;

impl<const COMPONENTS: usize> Reconcile<COMPONENTS> {
    pub(crate) fn found(&mut self, cx: &mut Context, instance: Instance) {
        if self.inventory != Inventory::UnderWay || instance.presence == Presence::Missing {
            return;
        }
        let is_active = instance.presence.is_active();
        match self.table.add(instance) {
            Some(row) if is_active => {
                let track = self.table.track_mut(row);
                track.started_at = cx.now;
                track.probe_at = cx.now;
            }
            Some(row) => self.complete_jobs(cx, row),
            None => {
                self.table.overflowed = true;
                cx.note(Note::InventoryOverflow);
            }
        }
    }

    /// A job that was completed in an earlier life stays completed.
    fn complete_jobs(&mut self, cx: &Context, row: usize) {
        if self.table.instance(row).map(|i| i.presence) == Some(Presence::Completed) {
            self.table.track_mut(row).healthy_since = Some(cx.now);
        }
    }

    pub(crate) fn inventory_taken(&mut self, cx: &mut Context, result: Result<(), Failure>) {
        if self.inventory != Inventory::UnderWay {
            return;
        }
        if let Err(failure) = result {
            self.inventory_failed(cx, failure);
            return;
        }
        self.inventory = Inventory::Taken;
        self.inventory_hold.reset();
        let rolled_back = self.goal().iter().any(|part| {
            let row = self.table.row_of(part);
            let instance = row.and_then(|row| self.table.instance(row));
            instance.is_some_and(|instance| instance.presence == Presence::RolledBack)
        });
        if rolled_back && self.state.has_started() {
            self.reject(cx, Reason::BootedOld);
        }
    }

    /// What was found is there, but what was not found may be there too: nothing is done before an inventory is whole.
    ///
    /// A trial that has begun does not wait for ever; the committed release is asked for again and again.
    fn inventory_failed(&mut self, cx: &mut Context, failure: Failure) {
        self.inventory = Inventory::Wanted;
        cx.back_off(&mut self.inventory_hold);
        if let Failure::RetryAfter(seconds) = failure {
            self.inventory_hold.obey(cx.now, seconds);
        }
        cx.note(Note::InventoryFailed {
            failure,
            retry_at: self.inventory_hold.until(),
        });
        if self.inventory_hold.failures() >= INVENTORY_TRIES && self.state.has_started() {
            self.reject(cx, Reason::Unseen);
        }
    }

    pub(crate) fn progressed(&mut self, id: StepId, bytes: u64) {
        if let Some(row) = self.table.under_way(id, Verb::Fetch) {
            self.table.track_mut(row).fetched = bytes;
        }
    }

    /// Takes the answer to a step; a probe is answered by what it [found](Self::probed).
    #[inline(never)]
    pub(crate) fn answered(
        &mut self,
        cx: &mut Context,
        verb: Verb,
        id: StepId,
        result: Result<(), Failure>,
    ) {
        let Some(row) = self.table.finish(id, verb) else {
            return;
        };
        if verb == Verb::Fetch {
            self.table
                .set_no_space(row, result == Err(Failure::NoSpace));
        }
        match result {
            Ok(()) => self.succeeded(cx, verb, row),
            Err(failure) => {
                match verb {
                    // What was fetched is of no use: fetch it again.
                    Verb::Stage if failure == Failure::Corrupt => {
                        self.table.set(row, Presence::Missing);
                    }
                    Verb::Start => self.table.set(row, Presence::Staged),
                    Verb::Fetch
                    | Verb::Stage
                    | Verb::Stop
                    | Verb::Probe
                    | Verb::Confirm
                    | Verb::Remove => (),
                }
                self.failed(cx, row, failure);
                if verb == Verb::Start {
                    self.count_failure(cx, row, Reason::DidNotStart);
                }
            }
        }
    }

    fn succeeded(&mut self, cx: &Context, verb: Verb, row: usize) {
        match verb {
            Verb::Fetch => self.done(row, Presence::Fetched),
            Verb::Stage => self.done(row, Presence::Staged),
            Verb::Start => self.table.track_mut(row).probe_at = cx.now,
            Verb::Stop => {
                self.table.set_restart(row, false);
                self.table.set(row, Presence::Staged);
                self.table.track_mut(row).healthy_since = None;
            }
            Verb::Remove => {
                self.table.remove(row);
                if core::mem::take(&mut self.table.overflowed) {
                    self.inventory = Inventory::Wanted;
                }
            }
            Verb::Confirm => self.table.track_mut(row).confirmed = true,
            Verb::Probe => (),
        }
    }

    /// Something about a component changed: its instances are probed at once.
    pub(crate) fn changed(&mut self, cx: &Context, name: &Name) {
        for row in 0..3 * COMPONENTS {
            if self
                .table
                .instance(row)
                .is_some_and(|instance| instance.name == *name)
            {
                self.table.track_mut(row).probe_at = cx.now;
            }
        }
    }

    pub(crate) fn probed(&mut self, cx: &mut Context, id: StepId, presence: Presence) {
        let Some(row) = self.table.finish(id, Verb::Probe) else {
            return;
        };
        let Some(instance) = self.table.instance(row) else {
            return;
        };
        let name = instance.name.clone();
        let component = self.component_of(row);
        let presence = understand(presence, component);
        let grace_s = component.map_or(0, |component| component.health.grace_s);
        self.table.set(row, presence);
        let track = self.table.track_mut(row);
        match presence {
            Presence::Healthy | Presence::Completed => {
                track.healthy_since.get_or_insert(cx.now);
                track.hold.reset();
            }
            Presence::Starting | Presence::Unhealthy => {
                track.healthy_since = None;
                let grace = Duration::from_secs(u64::from(grace_s));
                if cx.now - track.started_at >= grace {
                    self.count_failure(cx, row, Reason::Unhealthy);
                }
            }
            Presence::Exited => {
                track.healthy_since = None;
                cx.note(Note::ComponentFailed(name));
                cx.back_off(&mut track.hold);
                self.count_failure(cx, row, Reason::Unhealthy);
            }
            Presence::Missing | Presence::Fetched | Presence::Staged | Presence::RolledBack => {
                track.healthy_since = None;
            }
        }
    }

    /// The goal's component that a row is an instance of.
    fn component_of(&self, row: usize) -> Option<&Component> {
        let instance = self.table.instance(row)?;
        let part = self.goal().iter().find(|part| instance.is(part))?;
        Some(&part.component)
    }

    fn done(&mut self, row: usize, presence: Presence) {
        self.table.set(row, presence);
        self.table.track_mut(row).hold.reset();
    }

    /// Puts the next attempt off; what can never work rejects a trial at once.
    fn failed(&mut self, cx: &mut Context, row: usize, failure: Failure) {
        let Some(instance) = self.table.instance(row) else {
            return;
        };
        cx.note(Note::StepFailed {
            component: instance.name.clone(),
            failure,
        });
        let hold = &mut self.table.track_mut(row).hold;
        cx.back_off(hold);
        if let Failure::RetryAfter(seconds) = failure {
            hold.obey(cx.now, seconds);
        }
        if failure == Failure::Unusable && self.component_of(row).is_some() {
            self.reject(cx, Reason::Unusable);
        }
    }

    /// Counts a failure against the trial.
    fn count_failure(&mut self, cx: &mut Context, row: usize, reason: Reason) {
        let Some(allowed) = self
            .component_of(row)
            .map(|component| component.health.failures)
        else {
            return;
        };
        let track = self.table.track_mut(row);
        track.failures = track.failures.saturating_add(1);
        if track.failures > allowed {
            self.reject(cx, reason);
        }
    }
}

/// A service that "completed" has exited; one that is only staged although it was running has exited too.
fn understand(presence: Presence, component: Option<&Component>) -> Presence {
    let is_job = component.is_some_and(|component| component.mode == Mode::Job);
    match presence {
        Presence::Completed if !is_job => Presence::Exited,
        Presence::Staged | Presence::Fetched => Presence::Exited,
        Presence::Missing
        | Presence::RolledBack
        | Presence::Starting
        | Presence::Healthy
        | Presence::Unhealthy
        | Presence::Exited
        | Presence::Completed => presence,
    }
}
