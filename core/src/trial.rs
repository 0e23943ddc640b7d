//! Trial, commit and revert of whole releases (design, section 3.2).
//!
//! Everything here is a change of [`State`] that must be saved before what it allows is done.
//! A release is *assigned*, becomes a *trial*, and is *committed* or *rejected*; reverting is nothing but planning towards the committed release again.

use crate::id::Digest;
use crate::limits::TRIAL_BOOTS;
use crate::record::{Rejected, State, Trial};
use crate::target::{Part, Target};
use crate::wire::Reason;

/// What became of an assigned target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assigned {
    /// It is the one that is tried or committed; nothing changes.
    Known,
    /// It is the committed one again; a trial, if there was one, is abandoned.
    Back,
    /// It was rejected before, exactly as it is.
    RejectedBefore,
    /// It is tried from now on.
    New,
}

impl<const COMPONENTS: usize> State<COMPONENTS> {
    /// Takes an assigned target.
    pub(crate) fn assign(&mut self, target: Target<COMPONENTS>) -> Assigned {
        if let Some(trial) = &mut self.trial
            && trial.target.id == target.id
        {
            trial.target.override_locks = target.override_locks;
            return Assigned::Known;
        }
        if self
            .rejected
            .is_some_and(|rejected| rejected.id == target.id)
        {
            // A trial of something else, if there is one, is what the fleet no longer wants.
            return match self.trial.take() {
                Some(_) => Assigned::Back,
                None => Assigned::RejectedBefore,
            };
        }
        self.rejected = None;
        if let Some(committed) = &mut self.committed
            && committed.id == target.id
        {
            committed.override_locks = target.override_locks;
            return match self.trial.take() {
                Some(_) => Assigned::Back,
                None => Assigned::Known,
            };
        }
        self.trial = Some(Trial {
            target,
            started: false,
            boots: 0,
        });
        Assigned::New
    }

    /// What should run: the release on trial, else the committed one, else nothing.
    pub(crate) fn goal(&self) -> Option<&Target<COMPONENTS>> {
        match &self.trial {
            Some(trial) => Some(&trial.target),
            None => self.committed.as_ref(),
        }
    }

    /// The goal's components.
    pub(crate) fn parts(&self) -> &[Part] {
        self.goal().map_or(&[], |target| &target.parts)
    }

    /// What must not be lost.
    pub(crate) fn keep(&self) -> &[Part] {
        self.committed.as_ref().map_or(&[], |target| &target.parts)
    }

    /// Whether a trial is marked as started.
    pub(crate) fn has_started(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.started)
    }

    /// Marks the trial as about to disturb what runs; returns its release.
    pub(crate) fn start_trial(&mut self) -> Option<Digest> {
        let trial = self.trial.as_mut()?;
        trial.started = true;
        Some(trial.target.release)
    }

    /// Counts a boot during a started trial; too many reject it.
    pub(crate) fn count_boot(&mut self) -> Boot {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.started) else {
            return Boot::NoTrial;
        };
        trial.boots = trial.boots.saturating_add(1);
        if trial.boots > TRIAL_BOOTS {
            Boot::TooMany
        } else {
            Boot::Resumed(trial.boots)
        }
    }

    /// Makes the trial the committed release.
    pub(crate) fn commit(&mut self) -> Option<Digest> {
        let trial = self.trial.take()?;
        let release = trial.target.release;
        self.committed = Some(trial.target);
        self.rejected = None;
        Some(release)
    }

    /// Gives the trial up.
    pub(crate) fn reject(&mut self, reason: Reason) -> Option<Rejected> {
        let trial = self.trial.take()?;
        let rejected = Rejected {
            id: trial.target.id,
            release: trial.target.release,
            reason,
        };
        self.rejected = Some(rejected);
        Some(rejected)
    }
}

/// What a boot means for the trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    NoTrial,
    Resumed(u8),
    TooMany,
}
