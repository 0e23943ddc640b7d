//! The instances on the device and what is under way with each.
//!
//! There is room for three times the components of a release: the committed one, the one on trial, and what an abandoned one left behind.

use crate::context::Backoff;
use crate::event::StepId;
use crate::id::{Digest, Name};
use crate::plan::{Instance, Presence};
use crate::target::Part;
use crate::time::Instant;

/// What is being done with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Not 0, so that a track of nothing is all zeroes and a table of such is made by clearing memory.
    Fetch = 1,
    Stage,
    Start,
    Stop,
    Probe,
    Confirm,
    Remove,
}

/// What the agent remembers of an instance beside what [`plan`](crate::plan) needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Track {
    pub(crate) busy: Option<(StepId, Verb)>,
    pub(crate) hold: Backoff,
    pub(crate) started_at: Instant,
    pub(crate) healthy_since: Option<Instant>,
    pub(crate) probe_at: Instant,
    pub(crate) failures: u8,
    pub(crate) confirmed: bool,
    pub(crate) fetched: u64,
    pub(crate) report_due: bool,
}

impl Track {
    const NONE: Self = Self {
        busy: None,
        hold: Backoff::NONE,
        started_at: Instant::BOOT,
        healthy_since: None,
        probe_at: Instant::BOOT,
        failures: 0,
        confirmed: false,
        fetched: 0,
        report_due: false,
    };
}

#[derive(Debug)]
pub(crate) struct Table<const COMPONENTS: usize> {
    instances: [[Option<Instance>; COMPONENTS]; 3],
    tracks: [[Track; COMPONENTS]; 3],
    next_step: u32,
    /// More was found than fits.
    pub(crate) overflowed: bool,
}

impl<const COMPONENTS: usize> Table<COMPONENTS> {
    pub(crate) fn new() -> Self {
        Self {
            instances: [const { [const { None }; COMPONENTS] }; 3],
            tracks: [[Track::NONE; COMPONENTS]; 3],
            next_step: 1,
            overflowed: false,
        }
    }

    pub(crate) fn instances(&self) -> &[Option<Instance>] {
        self.instances.as_flattened()
    }

    pub(crate) fn track(&self, row: usize) -> &Track {
        &self.tracks.as_flattened()[row]
    }

    #[inline(never)]
    pub(crate) fn track_mut(&mut self, row: usize) -> &mut Track {
        &mut self.tracks.as_flattened_mut()[row]
    }

    pub(crate) fn instance(&self, row: usize) -> Option<&Instance> {
        self.instances()[row].as_ref()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, &Instance, &Track)> {
        let both = self.instances().iter().zip(self.tracks.as_flattened());
        let both = both.enumerate();
        both.filter_map(|(row, (instance, track))| Some((row, instance.as_ref()?, track)))
    }

    pub(crate) fn find(&self, name: &Name, digest: Digest) -> Option<usize> {
        let mut rows = self.rows();
        rows.find_map(|(row, i, _)| (i.digest == digest && i.name == *name).then_some(row))
    }

    pub(crate) fn row_of(&self, part: &Part) -> Option<usize> {
        self.find(&part.component.name, part.instance)
    }

    /// Adds an instance; `None` when there is no room.
    pub(crate) fn add(&mut self, instance: Instance) -> Option<usize> {
        if let Some(row) = self.find(&instance.name, instance.digest) {
            self.set(row, instance.presence);
            return Some(row);
        }
        let row = self.instances().iter().position(Option::is_none)?;
        self.instances.as_flattened_mut()[row] = Some(instance);
        *self.track_mut(row) = Track {
            report_due: true,
            ..Track::NONE
        };
        Some(row)
    }

    pub(crate) fn remove(&mut self, row: usize) {
        self.instances.as_flattened_mut()[row] = None;
        *self.track_mut(row) = Track::NONE;
    }

    /// Changes what is known of an instance.
    pub(crate) fn set(&mut self, row: usize, presence: Presence) {
        let Some(instance) = &mut self.instances.as_flattened_mut()[row] else {
            return;
        };
        if instance.presence != presence {
            instance.presence = presence;
            self.track_mut(row).report_due = true;
        }
    }

    pub(crate) fn set_no_space(&mut self, row: usize, no_space: bool) {
        if let Some(instance) = &mut self.instances.as_flattened_mut()[row] {
            instance.no_space = no_space;
        }
    }

    pub(crate) fn set_restart(&mut self, row: usize, restart: bool) {
        if let Some(instance) = &mut self.instances.as_flattened_mut()[row] {
            instance.restart = restart;
        }
    }

    /// Marks an instance as busy and names the step.
    pub(crate) fn begin(&mut self, row: usize, verb: Verb) -> StepId {
        let id = StepId(self.next_step);
        self.next_step = self.next_step.wrapping_add(1);
        self.track_mut(row).busy = Some((id, verb));
        id
    }

    /// The instance whose step this answers; it is no longer busy.
    pub(crate) fn finish(&mut self, id: StepId, verb: Verb) -> Option<usize> {
        let tracks = self.tracks.as_flattened();
        let row = tracks.iter().position(|t| t.busy == Some((id, verb)))?;
        self.track_mut(row).busy = None;
        Some(row)
    }

    /// The instance that this step is under way for.
    pub(crate) fn under_way(&self, id: StepId, verb: Verb) -> Option<usize> {
        let tracks = self.tracks.as_flattened();
        tracks.iter().position(|t| t.busy == Some((id, verb)))
    }

    pub(crate) fn count(&self, verb: Verb) -> usize {
        let is = |track: &Track| matches!(track.busy, Some((_, busy)) if busy == verb);
        self.rows().filter(|(_, _, track)| is(track)).count()
    }
}
