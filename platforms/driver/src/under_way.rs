//! The steps that are under way and when each has taken too long.

use lightship_core::StepId;
use lightship_core::time::{Duration, Instant};

use crate::contract::Task;
use crate::limits::{CONFIRM, FETCH_SILENCE, PROBE, REMOVE, STAGE, START, STEPS, STOP};

/// Which answer the agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Fetch,
    Stage,
    Start,
    Confirm,
    Stop,
    Probe,
    Remove,
    Inventory,
}

impl Verb {
    pub(crate) const fn of(task: &Task<'_>) -> Self {
        match task {
            Task::Fetch(_) => Self::Fetch,
            Task::Stage(_) => Self::Stage,
            Task::Start(_) => Self::Start,
            Task::Confirm(_) => Self::Confirm,
            Task::Stop(_) => Self::Stop,
            Task::Probe(_) => Self::Probe,
            Task::Remove(_) => Self::Remove,
            Task::TakeInventory => Self::Inventory,
        }
    }

    const fn limit(self) -> Duration {
        match self {
            Self::Fetch => FETCH_SILENCE,
            Self::Stage => STAGE,
            Self::Start => START,
            Self::Confirm => CONFIRM,
            Self::Stop => STOP,
            Self::Probe | Self::Inventory => PROBE,
            Self::Remove => REMOVE,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    id: StepId,
    verb: Verb,
    deadline: Instant,
}

#[derive(Debug)]
pub(crate) struct UnderWay<const COMPONENTS: usize>([[Option<Begun>; COMPONENTS]; STEPS]);

impl<const COMPONENTS: usize> UnderWay<COMPONENTS> {
    pub(crate) const fn new() -> Self {
        Self([[None; COMPONENTS]; STEPS])
    }

    /// Takes a step in; whether there was room.
    pub(crate) fn begin(&mut self, id: StepId, verb: Verb, now: Instant) -> bool {
        let place = self.places().iter_mut().find(|place| place.is_none());
        let Some(place) = place else { return false };
        *place = Some(Begun {
            id,
            verb,
            deadline: now + verb.limit(),
        });
        true
    }

    /// A sign of life of a step.
    pub(crate) fn alive(&mut self, id: StepId, now: Instant) {
        for step in self.places().iter_mut().flatten() {
            if step.id == id {
                step.deadline = now + step.verb.limit();
            }
        }
    }

    /// Takes a step out; `None` when it is not under way.
    pub(crate) fn finish(&mut self, id: StepId) -> Option<Verb> {
        let step = self.take(|step| step.id == id)?;
        Some(step.verb)
    }

    /// When the next step has taken too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let steps = self.0.as_flattened().iter().flatten();
        steps.map(|step| step.deadline).min()
    }

    /// Takes out a step that has taken too long.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<(StepId, Verb)> {
        let step = self.take(|step| step.deadline <= now)?;
        Some((step.id, step.verb))
    }

    fn take(&mut self, is_it: impl Fn(&Begun) -> bool) -> Option<Begun> {
        let mut places = self.places().iter_mut();
        places.find_map(|place| place.take_if(|step| is_it(step)))
    }

    fn places(&mut self) -> &mut [Option<Begun>] {
        self.0.as_flattened_mut()
    }
}
