//! Writes an image as its bytes come, and goes on after a reboot.
//!
//! What must stay true:
//! - a unit is erased whenever its first byte is written, so that nothing is assumed of flash that
//!   was not recorded;
//! - a word is programmed only if it reads as erased; a word that already holds its bytes is left
//!   alone, and any other makes the unit start again;
//! - a position is recorded after everything before it was read back.

use crate::limits::{CHUNK, MARK_EVERY, MAX_REWINDS};
use crate::slots::{Artifact, Error};
use crate::{BootState, RecordLog, Staging};
use embedded_storage::nor_flash::NorFlash;

/// Bytes on their way to the flash.
#[derive(Debug)]
pub(super) struct Writer {
    artifact: Artifact,
    /// Bytes that are in flash.
    position: u32,
    pending: [u8; CHUNK],
    filled: usize,
    rewinds: u8,
}

impl Writer {
    /// Starts, or goes on from the recorded position.
    pub(super) fn begin<R: NorFlash>(
        log: &mut RecordLog<R>,
        artifact: &Artifact,
    ) -> Result<Self, Error> {
        let Artifact { digest, size } = *artifact;
        let same = |staging: &Staging| staging.digest == digest && staging.size == size;
        let position = match log.state().staging.filter(same) {
            Some(staging) => staging.position,
            None => {
                mark(
                    log,
                    Some(Staging {
                        digest,
                        size,
                        position: 0,
                    }),
                )?;
                0
            }
        };
        let artifact = *artifact;
        Ok(Self {
            artifact,
            position,
            pending: [0xFF; CHUNK],
            filled: 0,
            rewinds: 0,
        })
    }

    /// The offset of the next byte.
    pub(super) fn next(&self) -> u32 {
        self.position + self.filled as u32
    }

    pub(super) fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    pub(super) fn write<R: NorFlash, F: NorFlash>(
        &mut self,
        log: &mut RecordLog<R>,
        flash: &mut F,
        mut bytes: &[u8],
    ) -> Result<u32, Error> {
        while !bytes.is_empty() {
            let left = self.artifact.size - self.next();
            let room = (chunk::<F>() - self.filled).min(left as usize);
            if room == 0 {
                return Err(Error::TrailingBytes);
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.pending[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = rest;
            let full = self.filled == chunk::<F>() || self.next() == self.artifact.size;
            if full && !self.flush(log, flash)? {
                break;
            }
        }
        Ok(self.next())
    }

    /// Whether the pending bytes are in flash; if not, the position went back.
    fn flush<R: NorFlash, F: NorFlash>(
        &mut self,
        log: &mut RecordLog<R>,
        flash: &mut F,
    ) -> Result<bool, Error> {
        let len = self
            .filled
            .next_multiple_of(F::WRITE_SIZE.max(F::READ_SIZE));
        self.pending[self.filled..len].fill(0xFF);
        if program(flash, self.position, &self.pending[..len]).is_none() {
            self.rewind::<R, F>(log)?;
            return Ok(false);
        }
        self.position += self.filled as u32;
        self.filled = 0;
        if self.position.is_multiple_of(MARK_EVERY) || self.position == self.artifact.size {
            self.mark(log)?;
        }
        Ok(true)
    }

    /// Back to the first byte of the unit, recorded before the unit is erased.
    fn rewind<R: NorFlash, F: NorFlash>(&mut self, log: &mut RecordLog<R>) -> Result<(), Error> {
        self.rewinds += 1;
        self.filled = 0;
        self.position -= self.position % F::ERASE_SIZE as u32;
        if log
            .state()
            .staging
            .is_some_and(|staging| staging.position > self.position)
        {
            self.mark(log)?;
        }
        if self.rewinds > MAX_REWINDS {
            Err(Error::FlashFailed)
        } else {
            Ok(())
        }
    }

    fn mark<R: NorFlash>(&self, log: &mut RecordLog<R>) -> Result<(), Error> {
        let Artifact { digest, size } = self.artifact;
        mark(
            log,
            Some(Staging {
                digest,
                size,
                position: self.position,
            }),
        )
    }
}

/// Records how far the staging is, or that there is none.
pub(super) fn mark<R: NorFlash>(
    log: &mut RecordLog<R>,
    staging: Option<Staging>,
) -> Result<(), Error> {
    let state = BootState {
        staging,
        ..*log.state()
    };
    log.append(&state).map_err(|_| Error::RecordFailed)
}

/// Bytes programmed at once: never across two units.
const fn chunk<F: NorFlash>() -> usize {
    const {
        let chunk = if F::ERASE_SIZE < CHUNK {
            F::ERASE_SIZE
        } else {
            CHUNK
        };
        assert!(F::ERASE_SIZE.is_multiple_of(chunk) && chunk.is_multiple_of(F::WRITE_SIZE));
        assert!(chunk.is_multiple_of(F::READ_SIZE));
        chunk
    }
}

/// Programs and reads back; `None` if the unit has to start again.
fn program<F: NorFlash>(flash: &mut F, at: u32, bytes: &[u8]) -> Option<()> {
    if at.is_multiple_of(F::ERASE_SIZE as u32) {
        flash.erase(at, at + F::ERASE_SIZE as u32).ok()?;
    }
    let mut held = [0; CHUNK];
    let held = &mut held[..bytes.len()];
    flash.read(at, held).ok()?;
    if is_erased(held) {
        flash.write(at, bytes).ok()?;
    } else {
        program_words(flash, at, bytes, held)?;
    }
    flash.read(at, held).ok()?;
    (held == bytes).then_some(())
}

/// Goes on in a chunk that a cut interrupted.
fn program_words<F: NorFlash>(flash: &mut F, at: u32, bytes: &[u8], held: &[u8]) -> Option<()> {
    let words = bytes.chunks(F::WRITE_SIZE).zip(held.chunks(F::WRITE_SIZE));
    for (offset, (word, held)) in (at..).step_by(F::WRITE_SIZE).zip(words) {
        if word == held {
            continue;
        }
        if !is_erased(held) {
            return None;
        }
        flash.write(offset, word).ok()?;
    }
    Some(())
}

fn is_erased(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xFF)
}
