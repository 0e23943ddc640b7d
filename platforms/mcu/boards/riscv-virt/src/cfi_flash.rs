//! A bank of CFI flash with Intel's command set: two x16 chips side by side on a 32-bit bus.
//!
//! Commands are those of Intel's StrataFlash J3 data sheet, sent to both chips at once.
//! While a bank is programmed or erased it answers with its status, so no code may run from it.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Bytes of an erase unit: 128 KiB in each chip.
pub const SECTOR: usize = 0x4_0000;

const CAPACITY: usize = 32 << 20;
const WORD: usize = 4;
/// Bytes of the chips' write buffers.
const BUFFER: usize = 2048;

const READ_ARRAY: u32 = both(0xFF);
const READ_STATUS: u32 = both(0x70);
const CLEAR_STATUS: u32 = both(0x50);
const ERASE: u32 = both(0x20);
const PROGRAM_BUFFER: u32 = both(0xE8);
const CONFIRM: u32 = both(0xD0);
const READY: u32 = both(0x80);
/// Erase, program, voltage or lock error.
const FAILED: u32 = both(0x3A);
/// Polls of the status before an operation counts as failed: far more than an erase takes.
const MOST_POLLS: u32 = 50_000_000;

const fn both(command: u32) -> u32 {
    command | command << 16
}

/// A bank.
#[derive(Debug)]
pub struct Bank {
    base: usize,
}

/// Why an operation did nothing, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The range is not in the bank, or not aligned to words or sectors.
    Range,
    /// A word that is not erased would have to be programmed.
    NotErased,
    /// The chips report that they could not erase or program, or they do not answer.
    Failed,
}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range => NorFlashErrorKind::OutOfBounds,
            Self::NotErased | Self::Failed => NorFlashErrorKind::Other,
        }
    }
}

impl Bank {
    /// The bank at an address.
    ///
    /// # Safety
    ///
    /// There is such a bank, nothing else uses it while this exists, and no code runs from it.
    pub const unsafe fn at(base: usize) -> Self {
        Self { base }
    }

    /// `offset` is inside the bank and a multiple of four.
    fn send(&mut self, offset: u32, value: u32) {
        // SAFETY: `at` was promised that the bank is ours.
        unsafe { ((self.base + offset as usize) as *mut u32).write_volatile(value) }
    }

    fn word(&self, offset: u32) -> u32 {
        // SAFETY: as above.
        unsafe { ((self.base + offset as usize) as *const u32).read_volatile() }
    }

    /// Waits for both chips and makes the bank readable again.
    fn finish(&mut self, offset: u32) -> Result<(), Error> {
        self.send(offset, READ_STATUS);
        let ready = self.wait(offset);
        let status = self.word(offset);
        self.send(offset, CLEAR_STATUS);
        self.send(0, READ_ARRAY);
        if ready.is_ok() && status & FAILED == 0 {
            Ok(())
        } else {
            Err(Error::Failed)
        }
    }

    fn wait(&mut self, offset: u32) -> Result<(), Error> {
        let mut polls = 0..MOST_POLLS;
        polls
            .find(|_| self.word(offset) & READY == READY)
            .map(|_| ())
            .ok_or(Error::Failed)
    }

    /// Programs words that lie in one write buffer.
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let words = || (offset..).step_by(WORD).zip(bytes.as_chunks::<WORD>().0);
        // QEMU stores what it is given; real chips only clear bits. Neither may happen here.
        if words().any(|(at, _)| self.word(at) != u32::MAX) {
            return Err(Error::NotErased);
        }
        self.send(offset, PROGRAM_BUFFER);
        self.wait(offset)?;
        self.send(offset, both((bytes.len() / WORD - 1) as u32));
        for (at, word) in words() {
            self.send(at, u32::from_le_bytes(*word));
        }
        self.send(offset, CONFIRM);
        self.finish(offset)
    }
}

fn in_range(offset: u32, len: usize, unit: usize) -> Result<(), Error> {
    let end = (offset as usize).checked_add(len).ok_or(Error::Range)?;
    let aligned = (offset as usize).is_multiple_of(unit) && len.is_multiple_of(unit);
    if end <= CAPACITY && aligned {
        Ok(())
    } else {
        Err(Error::Range)
    }
}

impl ErrorType for Bank {
    type Error = Error;
}

impl ReadNorFlash for Bank {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        in_range(offset, bytes.len(), 1)?;
        for (byte, at) in bytes.iter_mut().zip(self.base + offset as usize..) {
            // SAFETY: the range was checked, and `at` was promised that the bank is ours.
            *byte = unsafe { (at as *const u8).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for Bank {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        in_range(
            from,
            to.checked_sub(from).ok_or(Error::Range)? as usize,
            SECTOR,
        )?;
        (from..to).step_by(SECTOR).try_for_each(|at| {
            self.send(at, ERASE);
            self.send(at, CONFIRM);
            self.finish(at)
        })
    }

    fn write(&mut self, mut offset: u32, mut bytes: &[u8]) -> Result<(), Error> {
        in_range(offset, bytes.len(), WORD)?;
        while !bytes.is_empty() {
            let room = BUFFER - offset as usize % BUFFER;
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.program(offset, now)?;
            offset += now.len() as u32;
            bytes = rest;
        }
        Ok(())
    }
}
