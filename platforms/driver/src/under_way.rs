//! The steps that are under way and when each has taken too long.

use heapless::Vec;
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

#[derive(Debug)]
pub(crate) struct UnderWay(Vec<(StepId, Verb, Instant), STEPS>);

impl UnderWay {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes a step in; whether there was room.
    pub(crate) fn begin(&mut self, id: StepId, verb: Verb, now: Instant) -> bool {
        self.0.push((id, verb, now + verb.limit())).is_ok()
    }

    /// A sign of life of a step.
    pub(crate) fn alive(&mut self, id: StepId, now: Instant) {
        for step in self.0.iter_mut().filter(|step| step.0 == id) {
            step.2 = now + step.1.limit();
        }
    }

    /// Takes a step out; `None` when it is not under way.
    pub(crate) fn finish(&mut self, id: StepId) -> Option<Verb> {
        let at = self.0.iter().position(|step| step.0 == id)?;
        Some(self.0.swap_remove(at).1)
    }

    /// When the next step has taken too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|step| step.2).min()
    }

    /// Takes out a step that has taken too long.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<(StepId, Verb)> {
        let at = self.0.iter().position(|step| step.2 <= now)?;
        let (id, verb, _) = self.0.swap_remove(at);
        Some((id, verb))
    }
}
