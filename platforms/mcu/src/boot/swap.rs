//! The boot of a device with one executable slot.
//!
//! The new image lies in the second slot from its second erase unit on, so that there is always one
//! free unit to move the next one to, and no scratch area that wears out first:
//!
//! ```text
//! copy 2i    second[i] <- first[i]       the old image, one unit lower than the new one lay
//! copy 2i+1  first[i]  <- second[i + 1]  the new image
//! ```
//!
//! A copy never changes what it copies from, and a copy is recorded as done before the next one
//! starts; so the copy that a cut interrupted is done again from its first byte.
//! Undoing runs the same way backwards, from any copy on.

use crate::boot::decide::run;
use crate::boot::{Boot, Reset, Step, Stop, next_swap_step};
use crate::flash::Window;
use crate::limits::CHUNK;
use crate::{BootState, Device, Outcome, Phase, RecordLog, Revert, Slot, Trial, Verdict, Why};
use embedded_storage::nor_flash::NorFlash;
use lightship_image::check::Ed25519;
use lightship_image::{HEADER_LEN, Header};

/// The two partitions of a device that swaps.
///
/// The second is at least one [unit](Self::UNIT) larger than the largest image.
#[derive(Clone, Debug)]
pub struct Pair<E, S> {
    /// The one that images run from.
    pub first: E,
    /// The one that keeps the other image.
    pub second: S,
}

impl<E: NorFlash, S: NorFlash> Pair<E, S> {
    /// Bytes of one copy: the larger of the two erase sizes.
    pub const UNIT: u32 = {
        let (first, second) = (E::ERASE_SIZE, S::ERASE_SIZE);
        let unit = if first > second { first } else { second };
        assert!(unit.is_multiple_of(first) && unit.is_multiple_of(second));
        assert!(
            Self::STEP.is_multiple_of(E::WRITE_SIZE) && Self::STEP.is_multiple_of(S::WRITE_SIZE)
        );
        assert!(unit.is_multiple_of(Self::STEP));
        unit as u32
    };

    /// Bytes read and programmed at once.
    const STEP: usize = if Self::LARGER < CHUNK {
        Self::LARGER
    } else {
        CHUNK
    };
    const LARGER: usize = if E::ERASE_SIZE > S::ERASE_SIZE {
        E::ERASE_SIZE
    } else {
        S::ERASE_SIZE
    };

    /// Where a new image is staged.
    pub fn staging(&mut self) -> Window<&mut S> {
        let room = self.units_that_fit() * Self::UNIT;
        Window::new(&mut self.second, Self::UNIT, room)
    }

    /// Units of the largest image that both partitions hold.
    fn units_that_fit(&self) -> u32 {
        let first = self.first.capacity() as u32 / Self::UNIT;
        let second = self.second.capacity() as u32 / Self::UNIT;
        first
            .min(second.saturating_sub(1))
            .min(u32::from(u16::MAX / 2))
    }

    /// Units that hold both images; all of them if the first holds none that is known.
    fn units(&self, old: &Verdict, new: &Header) -> u16 {
        let units = |header: &Header| (HEADER_LEN as u32 + header.size).div_ceil(Self::UNIT);
        let old = old.as_ref().map_or(self.units_that_fit(), units);
        old.max(units(new)) as u16
    }

    /// The n-th copy of a swap.
    fn copy(&mut self, copy: u16) -> Result<(), Failed> {
        let unit = u32::from(copy / 2) * Self::UNIT;
        match copy % 2 {
            0 => transfer::<_, _>(&mut self.first, unit, &mut self.second, unit, Self::UNIT),
            _ => {
                let from = unit + Self::UNIT;
                transfer(&mut self.second, from, &mut self.first, unit, Self::UNIT)
            }
        }
    }

    /// Undoes the n-th copy of a swap.
    ///
    /// The old image is what counts: that the second slot cannot take the new one back is no error.
    fn undo(&mut self, copy: u16) -> Result<(), Failed> {
        let unit = u32::from(copy / 2) * Self::UNIT;
        match (copy % 2, unit.checked_sub(Self::UNIT)) {
            (0, None) => Ok(()),
            (0, Some(from)) => {
                let _ = transfer(&mut self.first, from, &mut self.second, unit, Self::UNIT);
                Ok(())
            }
            _ => transfer(&mut self.second, unit, &mut self.first, unit, Self::UNIT),
        }
    }
}

/// The flash did not erase, program or read.
struct Failed;

fn transfer<A: NorFlash, B: NorFlash>(
    from: &mut A,
    source: u32,
    to: &mut B,
    target: u32,
    len: u32,
) -> Result<(), Failed> {
    to.erase(target, target + len).map_err(|_| Failed)?;
    let (mut chunk, mut written) = ([0; CHUNK], [0; CHUNK]);
    let step = CHUNK.min(len as usize);
    let (chunk, written) = (&mut chunk[..step], &mut written[..step]);
    for done in (0..len).step_by(step) {
        from.read(source + done, chunk).map_err(|_| Failed)?;
        // An erased word stays one that can still be programmed.
        if chunk.iter().any(|byte| *byte != 0xFF) {
            to.write(target + done, chunk).map_err(|_| Failed)?;
        }
        to.read(target + done, written).map_err(|_| Failed)?;
        if chunk != written {
            return Err(Failed);
        }
    }
    Ok(())
}

/// Moves what has to be moved, judges the image, stores what changes, and says what to start.
///
/// `fed` is called often enough for a watchdog that outlasts the copy of one unit.
pub fn boot<R: NorFlash, E: NorFlash, S: NorFlash>(
    log: &mut RecordLog<R>,
    pair: &mut Pair<E, S>,
    device: &Device<'_>,
    ed25519: &impl Ed25519,
    reset: Reset,
    fed: &mut dyn FnMut(),
) -> Boot {
    Booting {
        log,
        pair,
        device,
        ed25519,
        reset,
        fed,
    }
    .run()
}

struct Booting<'a, R, E, S, V> {
    log: &'a mut RecordLog<R>,
    pair: &'a mut Pair<E, S>,
    device: &'a Device<'a>,
    ed25519: &'a V,
    reset: Reset,
    fed: &'a mut dyn FnMut(),
}

/// A boot that goes on, or ends.
enum Next {
    /// The state changed: look again.
    Again,
    /// This is what to do.
    Done(Boot),
}

impl<R: NorFlash, E: NorFlash, S: NorFlash, V: Ed25519> Booting<'_, R, E, S, V> {
    /// Each round stores a later phase or ends; a trial has few.
    fn run(mut self) -> Boot {
        loop {
            let next = match next_swap_step(self.log.state()) {
                Step::Swap(done) => self.swap(done),
                Step::Unswap(left) => self.unswap(left),
                Step::Decide => self.decide(),
            };
            if let Next::Done(boot) = next {
                return boot;
            }
        }
    }

    fn decide(&mut self) -> Next {
        match self.log.state().trial {
            Some(trial) if trial.phase == Phase::Pending => self.begin(trial),
            Some(trial) => self.again(trial),
            None => Next::Done(self.start(Why::Confirmed)),
        }
    }

    /// The image was staged and marked: it is judged where it lies, before anything moves.
    fn begin(&mut self, trial: Trial) -> Next {
        let floor = self.log.state().floor;
        let mut staged = self.pair.staging();
        let new = self
            .device
            .inspect(&mut staged, Slot::A, floor, self.ed25519, self.fed);
        let stored = match new {
            Err(reject) => self.end(Outcome::Reverted(Revert::Refused(reject))),
            Ok(new) => {
                let old = self.look();
                let units = self.pair.units(&old, &new);
                self.store(Trial {
                    phase: Phase::Swapping(0),
                    units,
                    ..trial
                })
            }
        };
        match stored {
            true => Next::Again,
            false => Next::Done(self.start(Why::Confirmed)),
        }
    }

    fn swap(&mut self, done: u16) -> Next {
        let Some(trial) = self.log.state().trial else {
            return Next::Again;
        };
        for copy in done..trial.units * 2 {
            (self.fed)();
            if self.pair.copy(copy).is_err() {
                return self.give_up(trial, copy + 1, Revert::FlashFailed);
            }
            if copy + 1 < trial.units * 2
                && !self.store(Trial {
                    phase: Phase::Swapping(copy + 1),
                    ..trial
                })
            {
                return Next::Done(Boot::Stop(Stop::FlashFailed));
            }
        }
        let look = self.look();
        if let Err(reject) = look {
            return self.give_up(trial, trial.units * 2, Revert::Refused(reject));
        }
        match self.store(Trial {
            phase: Phase::Started,
            ..trial
        }) {
            true => Next::Done(started(look, Why::Trial)),
            false => Next::Done(Boot::Stop(Stop::FlashFailed)),
        }
    }

    /// The trial ran before and did not confirm.
    fn again(&mut self, trial: Trial) -> Next {
        let copies = trial.units * 2;
        let look = self.look();
        match (trial.count(self.reset), look) {
            (Err(spent), _) => self.give_up(trial, copies, spent),
            (_, Err(reject)) => self.give_up(trial, copies, Revert::Refused(reject)),
            (Ok(counted), Ok(_)) => {
                // The old image cannot be brought back without records either: an uncounted start
                // of a signed image is better than none.
                self.store(counted);
                Next::Done(started(look, Why::Trial))
            }
        }
    }

    fn unswap(&mut self, left: u16) -> Next {
        let Some(trial) = self.log.state().trial else {
            return Next::Again;
        };
        for copy in (0..left).rev() {
            (self.fed)();
            let undone = self.pair.undo(copy).is_ok();
            let stored = copy == 0
                || self.store(Trial {
                    phase: Phase::Reverting(copy),
                    ..trial
                });
            if !(undone && stored) {
                return Next::Done(Boot::Stop(Stop::FlashFailed));
            }
        }
        match self.end(self.log.state().outcome) {
            true => Next::Again,
            // The old image is whole; the next boot stores that, and undoes one copy again.
            false => Next::Done(self.start(Why::Confirmed)),
        }
    }

    fn give_up(&mut self, trial: Trial, copies: u16, why: Revert) -> Next {
        let state = BootState {
            trial: Some(Trial {
                phase: Phase::Reverting(copies),
                ..trial
            }),
            outcome: Outcome::Reverted(why),
            ..*self.log.state()
        };
        match self.log.append(&state) {
            Ok(()) => Next::Again,
            Err(_) => Next::Done(Boot::Stop(Stop::FlashFailed)),
        }
    }

    fn start(&mut self, why: Why) -> Boot {
        let look = self.look();
        started(look, why)
    }

    fn look(&mut self) -> Verdict {
        let floor = self.log.state().floor;
        self.device
            .inspect(&mut self.pair.first, Slot::A, floor, self.ed25519, self.fed)
    }

    fn store(&mut self, trial: Trial) -> bool {
        let state = BootState {
            trial: Some(trial),
            ..*self.log.state()
        };
        self.log.append(&state).is_ok()
    }

    fn end(&mut self, outcome: Outcome) -> bool {
        let state = BootState {
            trial: None,
            outcome,
            ..*self.log.state()
        };
        self.log.append(&state).is_ok()
    }
}

fn started(look: Verdict, why: Why) -> Boot {
    match look {
        Ok(header) => run(Slot::A, why, header),
        Err(reject) => Boot::Stop(Stop::NoImage(reject)),
    }
}
