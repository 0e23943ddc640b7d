//! A partition: a range of a flash, with offsets of its own.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// `len` bytes of a flash from `start` on; nothing outside can be read or changed through it.
#[derive(Clone, Debug)]
pub struct Window<F> {
    flash: F,
    start: u32,
    len: u32,
}

/// What the flash reports, or an offset outside the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError<E> {
    /// The offset is outside the partition.
    Outside,
    /// The flash's own error.
    Flash(E),
}

impl<F> Window<F> {
    /// A partition of `len` bytes from `start` on, both multiples of the flash's erase size.
    pub const fn new(flash: F, start: u32, len: u32) -> Self {
        Self { flash, start, len }
    }

    fn at(&self, offset: u32, len: usize) -> Option<u32> {
        let end = usize::try_from(offset).ok()?.checked_add(len)?;
        (end <= self.len as usize).then_some(self.start + offset)
    }
}

impl<E: NorFlashError> NorFlashError for WindowError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Outside => NorFlashErrorKind::OutOfBounds,
            Self::Flash(error) => error.kind(),
        }
    }
}

impl<F: ErrorType> ErrorType for Window<F> {
    type Error = WindowError<F::Error>;
}

impl<F: ReadNorFlash> ReadNorFlash for Window<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let at = self.at(offset, bytes.len()).ok_or(WindowError::Outside)?;
        self.flash.read(at, bytes).map_err(WindowError::Flash)
    }

    fn capacity(&self) -> usize {
        self.len as usize
    }
}

impl<F: NorFlash> NorFlash for Window<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let len = to.checked_sub(from).ok_or(WindowError::Outside)?;
        let at = self.at(from, len as usize).ok_or(WindowError::Outside)?;
        self.flash.erase(at, at + len).map_err(WindowError::Flash)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let at = self.at(offset, bytes.len()).ok_or(WindowError::Outside)?;
        self.flash.write(at, bytes).map_err(WindowError::Flash)
    }
}
