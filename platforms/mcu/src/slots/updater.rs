//! The one implementation of [`Slots`], for every layout.

use crate::inspect::{digest_of, header_of};
use crate::slots::writer::{Writer, mark};
use crate::slots::{Artifact, Error, Layout, Report, Slots};
use crate::{BootState, Device, Handoff, Outcome, Phase, RecordLog, Slot, Trial, Why};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use lightship_image::check::Ed25519;
use lightship_image::{HEADER_LEN, Header, Reject};

/// Slots over a layout of partitions and a log of records.
#[derive(Debug)]
pub struct Updater<'a, R, L, V> {
    log: RecordLog<R>,
    layout: L,
    device: Device<'a>,
    ed25519: V,
    handoff: Handoff,
    writer: Option<Writer>,
}

impl<'a, R: NorFlash, L: Layout, V: Ed25519> Updater<'a, R, L, V> {
    /// The slots of a device that the bootloader started with `handoff`.
    pub fn new(records: R, layout: L, device: Device<'a>, ed25519: V, handoff: Handoff) -> Self {
        let log = RecordLog::open(records);
        Self {
            log,
            layout,
            device,
            ed25519,
            handoff,
            writer: None,
        }
    }

    /// The trial, if it is the running image that is on trial.
    fn own_trial(&self) -> Result<Trial, Error> {
        let started = |trial: &Trial| trial.phase == Phase::Started;
        let trial = self.log.state().trial.filter(started);
        trial
            .filter(|_| self.handoff.why == Why::Trial)
            .ok_or(Error::NotOnTrial)
    }

    fn store(&mut self, state: BootState) -> Result<(), Error> {
        self.log.append(&state).map_err(|_| Error::RecordFailed)
    }

    fn slot(&self) -> Slot {
        self.handoff.slot
    }

    fn judge(&mut self, artifact: &Artifact) -> Result<Header, Reject> {
        let slot = self.layout.next(self.handoff.slot);
        let mut staged = self.layout.staging(self.handoff.slot);
        if digest_of(&mut staged, artifact.size)? != artifact.digest {
            return Err(Reject::WrongDigest);
        }
        let floor = self.log.state().floor;
        let header = self
            .device
            .inspect(&mut staged, slot, floor, &self.ed25519, &mut || ())?;
        if header.size != artifact.size - HEADER_LEN as u32 {
            return Err(Reject::TrailingBytes);
        }
        Ok(header)
    }
}

impl<R: NorFlash, L: Layout, V: Ed25519> Slots for Updater<'_, R, L, V> {
    fn report(&self) -> Report {
        let state = self.log.state();
        Report {
            slot: self.slot(),
            why: self.handoff.why,
            outcome: match state.trial {
                Some(_) => Outcome::None,
                None => state.outcome,
            },
            floor: state.floor,
        }
    }

    fn running(&mut self) -> Result<Header, Error> {
        header_of(self.layout.running(self.handoff.slot)).map_err(Error::Rejected)
    }

    fn artifact(&mut self) -> Result<Artifact, Error> {
        let size = self.running()?.size.saturating_add(HEADER_LEN as u32);
        let digest = digest_of(self.layout.running(self.handoff.slot), size);
        let digest = digest.map_err(Error::Rejected)?;
        Ok(Artifact { digest, size })
    }

    fn holds(&mut self, artifact: &Artifact) -> bool {
        let mut staged = self.layout.staging(self.handoff.slot);
        let fits = artifact.size as usize <= staged.capacity();
        fits && digest_of(&mut staged, artifact.size) == Ok(artifact.digest)
    }

    fn begin(&mut self, artifact: &Artifact) -> Result<u32, Error> {
        self.writer = None;
        let state = self.log.state();
        if state.trial.is_some() {
            return Err(Error::TrialRunning);
        }
        // A rescue that could not be recorded: the other slot is the confirmed one on paper.
        if state.confirmed != self.layout.confirmed(self.slot()) {
            return Err(Error::RecordFailed);
        }
        let capacity = self.layout.staging(self.handoff.slot).capacity();
        if artifact.size < HEADER_LEN as u32 || artifact.size as usize > capacity {
            return Err(Error::WrongSize);
        }
        let writer = self.writer.insert(Writer::begin(&mut self.log, artifact)?);
        Ok(writer.next())
    }

    fn staging(&self) -> Option<(Artifact, u32)> {
        let writer = self.writer.as_ref()?;
        Some((*writer.artifact(), writer.next()))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<u32, Error> {
        let writer = self.writer.as_mut().ok_or(Error::NothingStaged)?;
        let expected = writer.next();
        if offset != expected {
            return Err(Error::OutOfOrder { expected });
        }
        writer.write(
            &mut self.log,
            &mut self.layout.staging(self.handoff.slot),
            bytes,
        )
    }

    fn verify(&mut self) -> Result<Header, Error> {
        let writer = self.writer.as_ref().ok_or(Error::NothingStaged)?;
        let (artifact, expected) = (*writer.artifact(), writer.next());
        if expected != artifact.size {
            return Err(Error::Incomplete { expected });
        }
        self.judge(&artifact).or_else(|reject| {
            self.writer = None;
            mark(&mut self.log, None)?;
            Err(Error::Rejected(reject))
        })
    }

    fn mark_trial(&mut self) -> Result<(), Error> {
        self.verify()?;
        self.store(BootState {
            trial: Some(Trial::pending()),
            outcome: Outcome::None,
            staging: None,
            ..*self.log.state()
        })?;
        self.writer = None;
        Ok(())
    }

    fn confirm(&mut self, floor: u32) -> Result<(), Error> {
        self.own_trial()?;
        let highest = self.running()?.security_version;
        let state = *self.log.state();
        self.store(BootState {
            confirmed: self.layout.confirmed(self.slot()),
            trial: None,
            outcome: Outcome::Confirmed,
            floor: state.floor.max(floor.min(highest)),
            ..state
        })?;
        self.handoff.why = Why::Confirmed;
        Ok(())
    }

    fn revert(&mut self) -> Result<(), Error> {
        let trial = self.own_trial()?;
        self.store(BootState {
            trial: Some(Trial {
                phase: Phase::Reverting(trial.units * 2),
                ..trial
            }),
            outcome: Outcome::Reverted(crate::Revert::Asked),
            ..*self.log.state()
        })
    }

    fn acknowledge(&mut self) -> Result<(), Error> {
        let state = *self.log.state();
        if state.trial.is_some() || state.outcome == Outcome::None {
            return Ok(());
        }
        self.store(BootState {
            outcome: Outcome::None,
            ..state
        })
    }

    fn raise_floor(&mut self, floor: u32) -> Result<(), Error> {
        let state = *self.log.state();
        if state.trial.is_some() || state.confirmed != self.layout.confirmed(self.slot()) {
            return Err(Error::TrialRunning);
        }
        let floor = state.floor.max(floor.min(self.running()?.security_version));
        if floor == state.floor {
            return Ok(());
        }
        self.store(BootState { floor, ..state })
    }
}
