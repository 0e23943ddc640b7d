//! The boot decision: pure, total, and the same for the bootloader and its model.

use crate::boot::{Boot, Reset, Stop};
use crate::{BootState, Handoff, Outcome, Phase, Revert, Slot, Trial, Verdict, Why};

/// What to store and what to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The state to store first, if it changes.
    pub store: Option<BootState>,
    /// What to start once it is stored.
    pub boot: Boot,
    /// What to start if it cannot be stored: never a trial that would not be counted.
    pub otherwise: Boot,
}

/// What a device that swaps does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copy: the images change places, this many of the copies are done.
    Swap(u16),
    /// Copy back: this many copies are still to be undone.
    Unswap(u16),
    /// Judge the images and decide; nothing is being moved.
    Decide,
}

/// Decides for a device with two executable slots.
///
/// `look` judges the image in a slot; it is asked only for what the decision needs.
pub fn decide(state: &BootState, reset: Reset, look: &mut dyn FnMut(Slot) -> Verdict) -> Decision {
    let Some(trial) = state.trial else {
        return confirmed(*state, None, look);
    };
    let revert = |why| BootState {
        trial: None,
        outcome: Outcome::Reverted(why),
        ..*state
    };
    let next = match (trial.phase, trial.count(reset)) {
        (Phase::Reverting(_), _) => Err(BootState {
            trial: None,
            ..*state
        }),
        (_, Err(spent)) => Err(revert(spent)),
        (_, Ok(counted)) => match look(state.confirmed.other()) {
            Err(reject) => Err(revert(Revert::Refused(reject))),
            Ok(header) => Ok((counted, header)),
        },
    };
    match next {
        Err(reverted) => confirmed(*state, Some(reverted), look),
        Ok((counted, header)) => Decision {
            store: Some(BootState {
                trial: Some(counted),
                ..*state
            }),
            boot: run(state.confirmed.other(), Why::Trial, header),
            otherwise: confirmed(*state, None, look).boot,
        },
    }
}

/// What a device with one executable slot does before it can decide.
pub fn next_swap_step(state: &BootState) -> Step {
    match state.trial.map(|trial| trial.phase) {
        Some(Phase::Swapping(done)) => Step::Swap(done),
        Some(Phase::Reverting(left)) => Step::Unswap(left),
        Some(Phase::Pending | Phase::Started) | None => Step::Decide,
    }
}

/// Starts the confirmed image, or, if that is damaged, the other one for good.
fn confirmed(
    state: BootState,
    store: Option<BootState>,
    look: &mut dyn FnMut(Slot) -> Verdict,
) -> Decision {
    let slot = state.confirmed;
    let (store, boot) = match look(slot) {
        Ok(header) => (store, run(slot, Why::Confirmed, header)),
        Err(reject) => match look(slot.other()) {
            Err(_) => (store, Boot::Stop(Stop::NoImage(reject))),
            Ok(header) => {
                let outcome = Outcome::Rescued(reject);
                let rescued = BootState {
                    confirmed: slot.other(),
                    trial: None,
                    outcome,
                    ..state
                };
                (Some(rescued), run(slot.other(), Why::Rescue, header))
            }
        },
    };
    Decision {
        store,
        boot,
        otherwise: boot,
    }
}

pub(super) fn run(slot: Slot, why: Why, header: lightship_image::Header) -> Boot {
    Boot::Run {
        handoff: Handoff { slot, why },
        header,
    }
}

impl Trial {
    /// The trial with this start counted, or why there is no other start.
    ///
    /// The first start counts nothing; each later one means that the image ran and did not confirm.
    pub(super) fn count(self, reset: Reset) -> Result<Self, Revert> {
        let phase = Phase::Started;
        match (self.phase, reset) {
            (Phase::Pending | Phase::Swapping(_) | Phase::Reverting(_), _) => {
                Ok(Self { phase, ..self })
            }
            (Phase::Started, Reset::Power) => {
                let left = self.cuts_left.saturating_sub(1);
                let counted = Self {
                    cuts_left: left,
                    ..self
                };
                (left > 0).then_some(counted).ok_or(Revert::CutsSpent)
            }
            (Phase::Started, Reset::Running) => {
                let left = self.tries_left.saturating_sub(1);
                let counted = Self {
                    tries_left: left,
                    ..self
                };
                (left > 0).then_some(counted).ok_or(Revert::TriesSpent)
            }
        }
    }
}
