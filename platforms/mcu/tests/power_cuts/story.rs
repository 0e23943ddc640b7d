//! One update from start to end, with power cuts, and the oracle that watches it.
//!
//! After every cut the device must run the old image or the new one, whole, say truthfully which,
//! and come to the end that the new image wanted.

use crate::flash::{Medium, Model, Power};
use crate::images::{artifact, image};
use crate::wiring::{Banks, Wiring};
use lightship_image::builder::artifact_digest;
use lightship_mcu::boot::{Boot, Reset};
use lightship_mcu::slots::{Artifact, Error, Report, Slots};
use lightship_mcu::{Handoff, Outcome, Revert, Why};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

/// The security version of the new image, which becomes the floor once it is confirmed.
const NEW_SECURITY_VERSION: u32 = 5;

pub(crate) struct Images {
    pub(crate) old: Vec<u8>,
    pub(crate) new: Vec<u8>,
    pub(crate) artifact: Artifact,
}

impl Images {
    pub(crate) fn new((old, new): (usize, usize)) -> Self {
        let new = image(2, new, NEW_SECURITY_VERSION);
        let artifact = artifact(&new);
        Self {
            old: image(1, old, 4),
            new,
            artifact,
        }
    }
}

/// What the new image does when it runs on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It is healthy.
    Confirm,
    /// It asks to go back.
    Revert,
    /// It hangs until the watchdog bites.
    Hang,
}

impl Goal {
    pub(crate) const ALL: [Self; 3] = [Self::Confirm, Self::Revert, Self::Hang];
}

/// Boots after which a story must have ended: three starts of a trial, and one for each cut.
const MOST_BOOTS: usize = 12;

/// What was promised so far: a call that returned `Ok` can no longer be undone by a cut.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    marked: bool,
    confirmed: bool,
    reverted: bool,
}

/// A story at the start of a boot.
#[derive(Clone)]
pub(crate) struct Chapter {
    pub(crate) ops: u64,
    mediums: Vec<Medium>,
    promised: Promised,
    reset: Reset,
}

pub(crate) struct Story<W> {
    pub(crate) goal: Goal,
    pub(crate) images: Images,
    wiring: PhantomData<W>,
}

/// How the application left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Reset,
    Ended,
}

impl<W: Wiring> Story<W> {
    pub(crate) fn new(goal: Goal) -> Self {
        Self {
            goal,
            images: Images::new(W::BODIES),
            wiring: PhantomData,
        }
    }

    /// The story without a cut: its chapters, and the operations in all.
    pub(crate) fn chapters(&self) -> (Vec<Chapter>, u64) {
        let mut chapters = vec![Chapter {
            ops: 0,
            mediums: W::mediums(&self.images.old),
            promised: Promised::default(),
            reset: Reset::Power,
        }];
        loop {
            let from = chapters.last().unwrap().clone();
            let (banks, mut promised) = (self.banks(&from, Model::Before, 0), from.promised);
            let left = self
                .turn(&banks, from.reset, &mut promised)
                .unwrap()
                .unwrap();
            let ops = banks.power.borrow().ops;
            if left == Left::Ended {
                return (chapters, ops);
            }
            assert!(chapters.len() < MOST_BOOTS);
            let mediums = banks
                .mediums
                .iter()
                .map(|medium| medium.borrow().clone())
                .collect();
            chapters.push(Chapter {
                ops,
                mediums,
                promised,
                reset: Reset::Running,
            });
        }
    }

    /// Goes on from a chapter with cuts at these operations, each counted from the one before.
    pub(crate) fn run(
        &self,
        from: &Chapter,
        model: Model,
        seed: u64,
        cuts: &[u64],
    ) -> Result<(), String> {
        let banks = self.banks(from, model, seed);
        let (mut promised, mut reset) = (from.promised, from.reset);
        let mut cuts = cuts.iter();
        banks.power.borrow_mut().cut_at = *cuts.next().unwrap_or(&u64::MAX);
        for _ in 0..MOST_BOOTS {
            let left = self.turn(&banks, reset, &mut promised)?;
            let mut power = banks.power.borrow_mut();
            reset = match left {
                _ if power.dead => {
                    power.dead = false;
                    power.cut_at = cuts.next().map_or(u64::MAX, |cut| power.ops + cut);
                    Reset::Power
                }
                Some(Left::Ended) => return Ok(()),
                Some(Left::Reset) => Reset::Running,
                None => return Err("the boot stopped with power on: bricked".into()),
            };
        }
        Err("the story does not end".into())
    }

    fn banks(&self, from: &Chapter, model: Model, seed: u64) -> Banks {
        let mut power = Power::new(model, seed);
        power.ops = from.ops;
        let mediums = from.mediums.iter().cloned();
        Banks {
            mediums: mediums
                .map(|medium| Rc::new(RefCell::new(medium)))
                .collect(),
            power: Rc::new(RefCell::new(power)),
        }
    }

    /// One boot and what the image then does; `None` if the power went or nothing was booted.
    fn turn(
        &self,
        banks: &Banks,
        reset: Reset,
        promised: &mut Promised,
    ) -> Result<Option<Left>, String> {
        let boot = W::boot(banks, reset);
        if banks.power.borrow().dead {
            return Ok(None);
        }
        let Boot::Run { handoff, .. } = boot else {
            return Err(format!("bricked: {boot:?}"));
        };
        let running = W::running(banks, handoff.slot);
        let new = running.starts_with(&self.images.new);
        if !new && !running.starts_with(&self.images.old) {
            return Err(format!("a mixed image runs: {boot:?}"));
        }
        let mut left = Ok(Left::Ended);
        W::slots(banks, handoff, &mut |slots| {
            left = self.app(slots, handoff, new, promised)
        });
        match left {
            _ if banks.power.borrow().dead => Ok(None),
            left => left.map(Some),
        }
    }

    fn app(
        &self,
        slots: &mut dyn Slots,
        handoff: Handoff,
        new: bool,
        promised: &mut Promised,
    ) -> Result<Left, String> {
        let report = slots.report();
        self.truthful(&report, new, promised)?;
        let failed = |error: Error| format!("{report:?}: {error:?}");
        match (handoff.why, report.outcome) {
            (Why::Trial, _) => match self.goal {
                Goal::Confirm => {
                    slots.confirm(NEW_SECURITY_VERSION + 9).map_err(failed)?;
                    promised.confirmed = true;
                }
                Goal::Revert => {
                    slots.revert().map_err(failed)?;
                    promised.reverted = true;
                }
                Goal::Hang => {}
            },
            (_, Outcome::None) => {
                self.stage(slots).map_err(failed)?;
                promised.marked = true;
            }
            (_, Outcome::Confirmed | Outcome::Reverted(_) | Outcome::Rescued(_)) => {
                return Ok(Left::Ended);
            }
        }
        Ok(Left::Reset)
    }

    fn truthful(&self, report: &Report, new: bool, promised: &Promised) -> Result<(), String> {
        let revert = match self.goal {
            Goal::Confirm => None,
            Goal::Revert => Some(Revert::Asked),
            Goal::Hang => Some(Revert::TriesSpent),
        };
        let after = match (report.why, report.outcome, new) {
            (Why::Trial, Outcome::None, true) => !promised.confirmed && !promised.reverted,
            (Why::Confirmed, Outcome::None, false) => !promised.marked,
            (Why::Confirmed, Outcome::Confirmed, true) => self.goal == Goal::Confirm,
            (Why::Confirmed, Outcome::Reverted(why), false) => Some(why) == revert,
            _ => false,
        };
        let floor = match report.outcome {
            Outcome::Confirmed => NEW_SECURITY_VERSION,
            _ => 0,
        };
        match after && report.floor == floor {
            true => Ok(()),
            false => Err(format!("wrong: {report:?}, new: {new}, {promised:?}")),
        }
    }

    /// Stages as an agent does: from where the slots say, in pieces of an odd size.
    fn stage(&self, slots: &mut dyn Slots) -> Result<(), Error> {
        let image = &self.images.new;
        let mut next = slots.begin(&self.images.artifact)? as usize;
        while next < image.len() {
            let end = image.len().min(next + 701);
            next = slots.write(next as u32, &image[next..end])? as usize;
        }
        let header = slots.verify()?;
        assert_eq!(artifact_digest(&image[256..]), header.digest);
        slots.mark_trial()
    }
}
