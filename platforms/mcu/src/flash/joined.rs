//! Two banks as one flash: the second bank's offsets follow the first's.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Two banks in a row; the sizes are those that suit both.
///
/// The first bank's capacity is a multiple of the joined erase size.
#[derive(Clone, Debug)]
pub struct Joined<A, B> {
    first: A,
    second: B,
}

/// The error of the bank that reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinedError<A, B> {
    /// The first bank's.
    First(A),
    /// The second bank's.
    Second(B),
}

impl<A: ReadNorFlash, B: ReadNorFlash> Joined<A, B> {
    /// Joins two banks.
    pub const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }

    /// Bytes of a range of `len` from `offset` that lie in the first bank, and the offset in the
    /// second at which the rest begins.
    fn split(&self, offset: u32, len: usize) -> (usize, u32) {
        let border = self.first.capacity() as u32;
        let before = border.saturating_sub(offset) as usize;
        (before.min(len), offset.saturating_sub(border))
    }
}

impl<A: NorFlashError, B: NorFlashError> NorFlashError for JoinedError<A, B> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::First(error) => error.kind(),
            Self::Second(error) => error.kind(),
        }
    }
}

impl<A: ErrorType, B: ErrorType> ErrorType for Joined<A, B> {
    type Error = JoinedError<A::Error, B::Error>;
}

impl<A: ReadNorFlash, B: ReadNorFlash> ReadNorFlash for Joined<A, B> {
    const READ_SIZE: usize = larger(A::READ_SIZE, B::READ_SIZE);

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let (before, rest) = self.split(offset, bytes.len());
        let (first, second) = bytes.split_at_mut(before);
        if !first.is_empty() {
            self.first.read(offset, first).map_err(JoinedError::First)?;
        }
        if !second.is_empty() {
            self.second
                .read(rest, second)
                .map_err(JoinedError::Second)?;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.first.capacity() + self.second.capacity()
    }
}

impl<A: NorFlash, B: NorFlash> NorFlash for Joined<A, B> {
    const WRITE_SIZE: usize = larger(A::WRITE_SIZE, B::WRITE_SIZE);
    const ERASE_SIZE: usize = larger(A::ERASE_SIZE, B::ERASE_SIZE);

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let len = to.saturating_sub(from) as usize;
        let (before, rest) = self.split(from, len);
        let after = (len - before) as u32;
        if before > 0 {
            self.first
                .erase(from, from + before as u32)
                .map_err(JoinedError::First)?;
        }
        if after > 0 {
            self.second
                .erase(rest, rest + after)
                .map_err(JoinedError::Second)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let (before, rest) = self.split(offset, bytes.len());
        let (first, second) = bytes.split_at(before);
        if !first.is_empty() {
            self.first
                .write(offset, first)
                .map_err(JoinedError::First)?;
        }
        if !second.is_empty() {
            self.second
                .write(rest, second)
                .map_err(JoinedError::Second)?;
        }
        Ok(())
    }
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}
