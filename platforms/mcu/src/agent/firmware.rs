//! The core's steps in the words of slots.
//!
//! One step is carried out at a time, a piece of it on each call, so that giving one up loses nothing but its answer.
//! A fetch gives way to everything else: it may take minutes, and a probe must not.

use heapless::Deque;
use lightship_core::id::{Digest, Name};
use lightship_core::plan::Presence;
use lightship_core::target::{Component, Kind};
use lightship_core::{Failure, InstanceRef, StepId};
use lightship_driver::{Happening, Task};

use super::images::{Held, Images};
use crate::limits::STEPS;
use crate::slots::{Artifact, Error, Report, Slots};
use crate::{Outcome, Why};

/// A step with all it needs, free of the agent's borrow.
#[derive(Clone, Debug)]
enum Job {
    Fetch(Wanted),
    Stage(Wanted),
    Start(Wanted),
    Confirm(Wanted),
    Probe(Digest),
    Remove(Digest),
    Inventory,
    /// There is nothing here that could do it.
    Impossible,
    /// There is nothing to do.
    Nothing,
}

/// What is left of a component once it is a firmware image.
#[derive(Clone, Debug)]
struct Wanted {
    name: Name,
    instance: Digest,
    artifact: Artifact,
}

/// What there is to do next.
pub(super) enum Turn {
    /// Nothing.
    Idle,
    /// Read this, and pass what comes to [`Firmware::fetched`].
    Read(Piece),
    /// Tell this.
    Tell(Happening),
    /// Store which images there are, then call again.
    Store,
    /// Restart the device.
    Reset,
}

/// A piece of an artifact that is wanted.
pub(super) struct Piece {
    id: StepId,
    /// The artifact.
    pub(super) digest: Digest,
    /// Where to read from.
    pub(super) offset: u32,
    /// Bytes from there to the end.
    pub(super) left: u32,
}

/// What carries out the steps.
pub(super) struct Firmware<'s, S> {
    slots: &'s mut S,
    images: Images,
    running: Artifact,
    jobs: Deque<(StepId, Job), STEPS>,
    /// Answers that wait to be told.
    answers: Deque<Happening, 4>,
    /// The images changed and are not stored yet; the job that changed them is still the first.
    unsaved: bool,
    resetting: bool,
    /// The fleet asked for this floor; it is raised as soon as no trial runs.
    floor: u32,
}

impl<'s, S: Slots> Firmware<'s, S> {
    /// Carries out steps on these slots; `images` is what was stored, and `running` the image in the slot that runs.
    pub(super) fn new(slots: &'s mut S, images: Images, running: Artifact) -> Self {
        Self {
            slots,
            images,
            running,
            jobs: Deque::new(),
            answers: Deque::new(),
            unsaved: false,
            resetting: false,
            floor: 0,
        }
    }

    pub(super) fn report(&self) -> Report {
        self.slots.report()
    }

    pub(super) fn running(&mut self) -> Result<lightship_image::Header, Error> {
        self.slots.running()
    }

    /// The component that runs, as the fleet calls it.
    pub(super) fn running_name(&self) -> Option<Name> {
        let held = self.images.by_artifact(&self.running);
        held.map(|held| held.name.clone())
    }

    pub(super) fn images(&self) -> &Images {
        &self.images
    }

    /// The images are stored.
    pub(super) fn stored(&mut self) {
        self.unsaved = false;
    }

    /// The images could not be stored: the step that changed them fails.
    pub(super) fn unstored(&mut self) {
        self.unsaved = false;
        if let Some((id, _)) = self.jobs.pop_front() {
            self.answer(Happening::Done(id, Err(Failure::Storage)));
        }
    }

    pub(super) fn begin(&mut self, id: StepId, task: &Task<'_>) {
        let job = Job::of(task);
        let is_fetch = matches!(job, Job::Fetch(_));
        // A fetch goes behind, everything else in front of it but behind the others.
        let taken = match (self.jobs.back(), is_fetch) {
            (Some((_, Job::Fetch(_))), false) => {
                let fetch = self.jobs.pop_back().expect("it was there");
                let taken = self.jobs.push_back((id, job)).is_ok();
                taken && self.jobs.push_back(fetch).is_ok()
            }
            _ => self.jobs.push_back((id, job)).is_ok(),
        };
        if !taken {
            self.answer(Happening::Done(id, Err(Failure::NoSpace)));
        }
    }

    pub(super) fn cancel(&mut self, id: StepId) {
        let count = self.jobs.len();
        for _ in 0..count {
            if let Some(job) = self.jobs.pop_front()
                && job.0 != id
            {
                let _ = self.jobs.push_back(job);
            }
        }
    }

    pub(super) fn raise_floor(&mut self, floor: u32) {
        self.floor = self.floor.max(floor);
        // During a trial it waits for the confirmation; after a failure, for the next boot.
        let _ = self.slots.raise_floor(self.floor);
    }

    fn answer(&mut self, happening: Happening) {
        let _ = self.answers.push_back(happening);
    }

    /// What there is to do now; `presence` is what is known of the image that runs.
    pub(super) fn turn(&mut self, presence: Presence) -> Turn {
        if let Some(answer) = self.answers.pop_front() {
            return Turn::Tell(answer);
        }
        if self.resetting {
            return Turn::Reset;
        }
        if self.unsaved {
            return Turn::Store;
        }
        let Some((id, job)) = self.jobs.front().cloned() else {
            return Turn::Idle;
        };
        match job {
            Job::Fetch(wanted) => return self.fetch(id, &wanted),
            Job::Inventory => return self.inventory(id, presence),
            Job::Stage(wanted) => {
                let result = self.stage(&wanted);
                return self.settle(id, result);
            }
            Job::Start(wanted) => return self.start(id, &wanted),
            Job::Confirm(wanted) => {
                let result = self.confirm(&wanted).map(|()| Ended::Done);
                return self.settle(id, result);
            }
            Job::Remove(instance) => {
                let result = self.remove(&instance);
                return self.settle(id, Ok(result));
            }
            Job::Probe(instance) => {
                self.jobs.pop_front();
                let presence = self.presence(&instance, presence);
                return Turn::Tell(Happening::Probed(id, presence));
            }
            Job::Impossible => (),
            Job::Nothing => return self.settle(id, Ok(Ended::Done)),
        }
        self.settle(id, Err(Failure::Unusable))
    }

    fn settle(&mut self, id: StepId, result: Result<Ended, Failure>) -> Turn {
        match result {
            Ok(Ended::Changed) => {
                self.unsaved = true;
                Turn::Store
            }
            Ok(Ended::Done) => {
                self.jobs.pop_front();
                Turn::Tell(Happening::Done(id, Ok(())))
            }
            Err(failure) => {
                self.jobs.pop_front();
                Turn::Tell(Happening::Done(id, Err(failure)))
            }
        }
    }

    fn is_running(&self, artifact: &Artifact) -> bool {
        *artifact == self.running
    }

    fn fetch(&mut self, id: StepId, wanted: &Wanted) -> Turn {
        if self.is_running(&wanted.artifact) {
            return self.settle(id, Ok(Ended::Done));
        }
        // What lay there is about to be overwritten: it is forgotten first.
        if self.images.by_artifact(&wanted.artifact).is_none()
            && self.images.keep_only(&self.running)
        {
            self.unsaved = true;
            return Turn::Store;
        }
        let next = match self.next_byte(&wanted.artifact) {
            Ok(next) => next,
            Err(error) => return self.settle(id, Err(failure(error))),
        };
        let left = wanted.artifact.size - next;
        if left == 0 {
            return self.settle(id, Ok(Ended::Done));
        }
        Turn::Read(Piece {
            id,
            digest: Digest(wanted.artifact.digest),
            offset: next,
            left,
        })
    }

    /// The offset of the next byte to stage; begins the staging if that was not done in this life.
    fn next_byte(&mut self, artifact: &Artifact) -> Result<u32, Error> {
        match self.slots.staging() {
            Some((staged, next)) if staged == *artifact => Ok(next),
            Some(_) | None => self.slots.begin(artifact),
        }
    }

    /// Bytes of a fetch came, or did not.
    pub(super) fn fetched(
        &mut self,
        piece: &Piece,
        bytes: Result<&[u8], Failure>,
    ) -> Option<Happening> {
        let id = piece.id;
        let is_first = self.jobs.front().is_some_and(|(first, _)| *first == id);
        if !is_first {
            return None;
        }
        let written = match bytes {
            Ok([]) => Err(Failure::Corrupt),
            Ok(bytes) => self.slots.write(piece.offset, bytes).map_err(failure),
            Err(failure) => Err(failure),
        };
        match written {
            Ok(next) => Some(Happening::Progressed(id, u64::from(next))),
            Err(failure) => {
                self.jobs.pop_front();
                Some(Happening::Done(id, Err(failure)))
            }
        }
    }

    fn stage(&mut self, wanted: &Wanted) -> Result<Ended, Failure> {
        let is_held = self
            .images
            .by_instance(&wanted.instance)
            .is_some_and(|held| held.artifact() == wanted.artifact);
        if is_held {
            return Ok(Ended::Done);
        }
        if !self.is_running(&wanted.artifact) {
            let next = self.next_byte(&wanted.artifact).map_err(failure)?;
            if next != wanted.artifact.size {
                return Err(Failure::Corrupt);
            }
            self.slots.verify().map_err(failure)?;
        }
        let new = Held {
            name: wanted.name.clone(),
            instance: wanted.instance,
            digest: Digest(wanted.artifact.digest),
            size: wanted.artifact.size,
            tried: false,
        };
        self.images.take(new, &self.running);
        Ok(Ended::Changed)
    }

    fn start(&mut self, id: StepId, wanted: &Wanted) -> Turn {
        let report = self.slots.report();
        if self.is_running(&wanted.artifact) {
            return self.settle(id, Ok(Ended::Done));
        }
        // On trial, the only other image is the one to go back to.
        if report.why == Why::Trial {
            return match self.slots.revert() {
                Ok(()) => self.reset(),
                Err(error) => self.settle(id, Err(failure(error))),
            };
        }
        let is_marked = self
            .images
            .by_instance(&wanted.instance)
            .is_some_and(|held| held.tried);
        if !is_marked || report.outcome != Outcome::None {
            // Forgotten before the mark, so that the end of an earlier update is not taken for that of this one.
            if let Err(error) = self.slots.acknowledge() {
                return self.settle(id, Err(failure(error)));
            }
            self.images.mark(&wanted.instance);
            self.unsaved = true;
            return Turn::Store;
        }
        let result = match self.next_byte(&wanted.artifact) {
            Ok(next) if next == wanted.artifact.size => self.slots.mark_trial(),
            Ok(expected) => Err(Error::Incomplete { expected }),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => self.reset(),
            Err(error) => self.settle(id, Err(failure(error))),
        }
    }

    /// A start that succeeded has no answer in this life.
    fn reset(&mut self) -> Turn {
        self.jobs.pop_front();
        self.resetting = true;
        Turn::Reset
    }

    fn confirm(&mut self, wanted: &Wanted) -> Result<(), Failure> {
        if !self.is_running(&wanted.artifact) {
            return Err(Failure::Broken);
        }
        match self.slots.report().why {
            Why::Trial => self.slots.confirm(self.floor).map_err(failure),
            Why::Confirmed | Why::Rescue => Ok(()),
        }
    }

    fn remove(&mut self, instance: &Digest) -> Ended {
        if self.images.by_instance(instance).is_none() {
            return Ended::Done;
        }
        self.images.forget(instance);
        Ended::Changed
    }

    fn inventory(&mut self, id: StepId, running: Presence) -> Turn {
        self.jobs.pop_front();
        let images = self.images.clone();
        for held in images.iter() {
            let presence = self.presence(&held.instance, running);
            if presence != Presence::Missing {
                self.answer(Happening::Found {
                    name: held.name.clone(),
                    instance: held.instance,
                    kind: Kind::Firmware,
                    presence,
                });
            }
        }
        self.answer(Happening::Done(id, Ok(())));
        self.turn(running)
    }

    /// What is known of an instance: from what runs and what lies in flash, not from what was intended.
    fn presence(&mut self, instance: &Digest, running: Presence) -> Presence {
        let Some(held) = self.images.by_instance(instance) else {
            return Presence::Missing;
        };
        let (artifact, tried) = (held.artifact(), held.tried);
        if self.is_running(&artifact) {
            return running;
        }
        let report = self.slots.report();
        match (report.why, report.outcome) {
            // The bootloader keeps the image to go back to.
            (Why::Trial, _) => Presence::Staged,
            (Why::Confirmed | Why::Rescue, Outcome::Reverted(_)) if tried => Presence::RolledBack,
            (Why::Confirmed | Why::Rescue, _) if self.slots.holds(&artifact) => Presence::Staged,
            (Why::Confirmed | Why::Rescue, _) => Presence::Missing,
        }
    }
}

/// How far a step is.
enum Ended {
    /// At its end.
    Done,
    /// The images changed; once that is stored the step is asked once more.
    Changed,
}

impl Job {
    fn of(task: &Task<'_>) -> Self {
        let is_ours = |kind| match kind {
            Kind::Firmware => true,
            Kind::Container | Kind::HostOs | Kind::Agent => false,
        };
        match task {
            Task::Fetch(c) if is_ours(c.kind) => {
                Wanted::of(c).map_or(Self::Impossible, Self::Fetch)
            }
            Task::Stage(c) if is_ours(c.kind) => {
                Wanted::of(c).map_or(Self::Impossible, Self::Stage)
            }
            Task::Start(c) if is_ours(c.kind) => {
                Wanted::of(c).map_or(Self::Impossible, Self::Start)
            }
            Task::Confirm(c) if is_ours(c.kind) => {
                Wanted::of(c).map_or(Self::Impossible, Self::Confirm)
            }
            Task::Probe(InstanceRef { instance, .. }) => Self::Probe(*instance),
            Task::Remove(InstanceRef { instance, .. }) => Self::Remove(*instance),
            Task::TakeInventory => Self::Inventory,
            // Firmware that runs is replaced, never stopped.
            Task::Stop(_) => Self::Nothing,
            Task::Fetch(_) | Task::Stage(_) | Task::Start(_) | Task::Confirm(_) => Self::Impossible,
        }
    }
}

impl Wanted {
    fn of(component: &Component) -> Option<Self> {
        Some(Self {
            name: component.name.clone(),
            instance: component.instance(),
            artifact: Artifact {
                digest: component.artifact.digest.0,
                size: u32::try_from(component.artifact.size).ok()?,
            },
        })
    }
}

/// What an error of the slots is to the core.
fn failure(error: Error) -> Failure {
    use lightship_image::Reject;
    match error {
        // What is in flash is not what the release names, or is not there yet: fetch it again.
        Error::Rejected(Reject::WrongDigest | Reject::Unreadable)
        | Error::Incomplete { .. }
        | Error::OutOfOrder { .. }
        | Error::TrailingBytes
        | Error::NothingStaged => Failure::Corrupt,
        Error::Rejected(_) | Error::WrongSize => Failure::Unusable,
        Error::TrialRunning | Error::NotOnTrial => Failure::Broken,
        Error::FlashFailed | Error::RecordFailed => Failure::Storage,
    }
}
