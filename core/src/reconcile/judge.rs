//! When a trial is over, and how it ends.

use super::{Issue, Reconcile};
use crate::agent::Wake;
use crate::context::Context;
use crate::note::Note;
use crate::plan;
use crate::record::Record;
use crate::soonest::Soonest;
use crate::table::Verb;
use crate::target::{Mode, Part};
use crate::time::{Duration, Instant};
use crate::wire::Reason;

impl<const COMPONENTS: usize> Reconcile<COMPONENTS> {
    /// Ends the trial if it is time, and tells when a revert is complete.
    pub(super) fn judge(&mut self, cx: &mut Context) {
        if !self.on_trial() {
            if self.reverting && plan::is_settled(&self.situation()) {
                self.reverting = false;
                cx.note(Note::Reverted);
            }
            return;
        }
        if self.reach_deadline() <= cx.now {
            self.reject(cx, Reason::Unreachable);
        } else if self.is_proven(cx.now) && self.is_confirmed() {
            self.commit(cx);
        }
    }

    fn commit(&mut self, cx: &mut Context) {
        if let Some(release) = self.state.commit() {
            self.forget_trial();
            self.reverting = false;
            cx.changed(Record::State);
            cx.note(Note::Committed(release));
        }
    }

    /// By when the fleet must have been reached; never if it need not, or was.
    fn reach_deadline(&self) -> Instant {
        match self.state.goal().and_then(|target| target.reach_fleet_s) {
            Some(s) if !self.reached => self.trial_since + Duration::from_secs(u64::from(s)),
            Some(_) | None => Instant::NEVER,
        }
    }

    /// Whether every component has been healthy for its window, and the fleet was reached if it must be.
    fn is_proven(&self, now: Instant) -> bool {
        let needs_fleet = self.state.goal().is_some_and(|t| t.reach_fleet_s.is_some());
        let mut goal = self.goal().iter();
        (self.reached || !needs_fleet)
            && plan::is_settled(&self.situation())
            && goal.all(|part| self.window_end(part) <= now)
    }

    /// When a component will have been healthy for long enough; never while it is not.
    fn window_end(&self, part: &Part) -> Instant {
        let row = self.table.row_of(part);
        let Some(since) = row.and_then(|row| self.table.track(row).healthy_since) else {
            return Instant::NEVER;
        };
        let window = match part.component.mode {
            Mode::Service => Duration::from_secs(u64::from(part.component.health.window_s)),
            Mode::Job => Duration::ZERO,
        };
        since + window
    }

    fn needs_confirmation(&self, part: &Part) -> bool {
        let row = self.table.row_of(part);
        let confirmed = row.is_some_and(|row| self.table.track(row).confirmed);
        part.component.kind.restarts_device() && !confirmed
    }

    fn is_confirmed(&self) -> bool {
        !self.goal().iter().any(|part| self.needs_confirmation(part))
    }

    /// Has the boot loader keep the images of a release that is proven, before the release is committed:
    /// a cut in between leaves a trial of an image that is kept, which is tried again; the other way round would leave a committed release that the boot loader goes back from.
    pub(super) fn next_confirm(&mut self, cx: &Context) -> Option<Issue> {
        if !self.on_trial() || !self.is_proven(cx.now) {
            return None;
        }
        let mut goal = self.goal().iter();
        let at = goal.position(|part| self.needs_confirmation(part))?;
        let row = self.table.row_of(&self.goal()[at])?;
        let track = self.table.track(row);
        if track.busy.is_some() || !track.hold.is_over(cx.now) {
            return None;
        }
        Some(Issue::Component(
            self.table.begin(row, Verb::Confirm),
            Verb::Confirm,
            at,
        ))
    }

    /// When the trial has to be judged again.
    pub(super) fn trial_deadlines(&self, soonest: &mut Soonest) {
        if !self.on_trial() {
            return;
        }
        for part in self.goal() {
            soonest.offer(Wake::Components, self.window_end(part));
        }
        soonest.offer(Wake::Components, self.reach_deadline());
    }
}
