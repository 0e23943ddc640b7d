//! NOR flash in a file.
//!
//! What was written is the file's at once, and so survives the process; it is not forced to the disk, so it may not survive the machine.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const WORD: usize = 4;
/// Bytes that are erased at once.
pub(crate) const SECTOR: u32 = 4096;

/// A file whose bytes are those of a flash.
#[derive(Debug)]
pub(crate) struct FileFlash {
    file: File,
    len: usize,
}

/// Why an operation did nothing, or not all.
#[derive(Debug)]
pub(crate) enum Error {
    /// The range is not in the flash, or not aligned to words or sectors.
    Range,
    /// A word that is not erased would have to be programmed.
    NotErased,
    /// The file could not be read or written.
    File(#[expect(dead_code, reason = "it is shown with `Debug`")] io::Error),
}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range => NorFlashErrorKind::OutOfBounds,
            Self::NotErased | Self::File(_) => NorFlashErrorKind::Other,
        }
    }
}

impl FileFlash {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len() as usize;
        Ok(Self { file, len })
    }

    fn check(&self, offset: u32, len: usize, unit: usize) -> Result<(), Error> {
        let end = (offset as usize).checked_add(len).ok_or(Error::Range)?;
        let aligned = (offset as usize).is_multiple_of(unit) && len.is_multiple_of(unit);
        if end <= self.len && aligned {
            Ok(())
        } else {
            Err(Error::Range)
        }
    }

    fn store(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all_at(bytes, offset.into())
            .map_err(Error::File)
    }
}

impl ErrorType for FileFlash {
    type Error = Error;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.check(offset, bytes.len(), 1)?;
        self.file
            .read_exact_at(bytes, offset.into())
            .map_err(Error::File)
    }

    fn capacity(&self) -> usize {
        self.len
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let len = to.checked_sub(from).ok_or(Error::Range)? as usize;
        self.check(from, len, SECTOR as usize)?;
        self.store(from, &vec![0xFF; len])
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.check(offset, bytes.len(), WORD)?;
        let mut held = vec![0; bytes.len()];
        self.read(offset, &mut held)?;
        if held.iter().any(|byte| *byte != 0xFF) {
            return Err(Error::NotErased);
        }
        self.store(offset, bytes)
    }
}
