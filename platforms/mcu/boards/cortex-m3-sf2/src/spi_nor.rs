//! The serial NOR flash behind MSS SPI 0: a Spansion S25SL12801 of 16 MiB.
//!
//! Commands are those of its data sheet; the controller's registers those of the SmartFusion2 MSS
//! user guide (UG0331, chapter SPI).

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

const SPI: usize = 0x4000_1000;
const CONTROL: usize = 0x00;
const FRAME_SIZE: usize = 0x04;
const STATUS: usize = 0x08;
const RECEIVE: usize = 0x10;
const TRANSMIT: usize = 0x14;
const CLOCK: usize = 0x18;
const SELECT: usize = 0x1C;

const RESET: u32 = 1 << 31;
/// Keeps the chip selected for a whole transfer.
const SELECT_FOR_TRANSFER: u32 = 1 << 26;
const ENABLE_AS_MASTER: u32 = 0x3;
const RECEIVE_EMPTY: u32 = 1 << 6;

const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const READ: u8 = 0x03;
const PROGRAM_PAGE: u8 = 0x02;
const ERASE_SECTOR: u8 = 0xD8;
const BUSY: u8 = 0x01;
/// The last program or erase failed.
const FAILED: u8 = 0x60;

const SECTOR: usize = 0x1_0000;
const PAGE: usize = 256;
const CAPACITY: usize = 16 << 20;
/// The controller counts the frames of a transfer in 16 bits.
const LONGEST_READ: usize = 0x8000;
/// Polls of the status before an operation counts as failed: far more than an erase takes.
const MOST_POLLS: u32 = 50_000_000;

/// The flash.
#[derive(Debug)]
pub struct SpiNor(());

/// Why an operation did nothing, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The range is not in the flash, or does not begin and end with a sector.
    Range,
    /// The flash reports that it could not erase or program, or it does not answer.
    Failed,
}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range => NorFlashErrorKind::OutOfBounds,
            Self::Failed => NorFlashErrorKind::Other,
        }
    }
}

impl SpiNor {
    /// The flash.
    ///
    /// # Safety
    ///
    /// Nothing else uses the SPI controller while this exists.
    pub unsafe fn new() -> Self {
        for (register, value) in [
            (CONTROL, RESET),
            (CONTROL, 0),
            (FRAME_SIZE, 8),
            (CLOCK, 1),
            (SELECT, 1),
        ] {
            write(register, value);
        }
        Self(())
    }

    /// One transfer: a command, then bytes out, then bytes in.
    fn transfer(&mut self, command: &[u8], out: &[u8], read: &mut [u8]) {
        let frames = (command.len() + out.len() + read.len()) as u32;
        write(
            CONTROL,
            ENABLE_AS_MASTER | SELECT_FOR_TRANSFER | frames << 8,
        );
        for byte in command.iter().chain(out) {
            exchange(*byte);
        }
        read.iter_mut().for_each(|byte| *byte = exchange(0));
        write(CONTROL, 0);
    }

    /// Programs or erases, and waits for it.
    fn change(&mut self, command: &[u8; 4], out: &[u8]) -> Result<(), Error> {
        self.transfer(&[WRITE_ENABLE], &[], &mut []);
        self.transfer(command, out, &mut []);
        for _ in 0..MOST_POLLS {
            let mut status = [0];
            self.transfer(&[READ_STATUS], &[], &mut status);
            let [status] = status;
            if status & BUSY == 0 {
                return if status & FAILED == 0 {
                    Ok(())
                } else {
                    Err(Error::Failed)
                };
            }
        }
        Err(Error::Failed)
    }
}

fn write(register: usize, value: u32) {
    // SAFETY: a register of the controller that `SpiNor::new` was promised.
    unsafe { ((SPI + register) as *mut u32).write_volatile(value) }
}

fn read(register: usize) -> u32 {
    // SAFETY: as above; a read of these registers changes nothing but the receive queue.
    unsafe { ((SPI + register) as *const u32).read_volatile() }
}

fn exchange(byte: u8) -> u8 {
    write(TRANSMIT, u32::from(byte));
    while read(STATUS) & RECEIVE_EMPTY != 0 {}
    read(RECEIVE) as u8
}

const fn command(code: u8, address: u32) -> [u8; 4] {
    let [_, high, middle, low] = address.to_be_bytes();
    [code, high, middle, low]
}

fn in_range(offset: u32, len: usize) -> Result<(), Error> {
    let end = (offset as usize).checked_add(len).ok_or(Error::Range)?;
    if end <= CAPACITY {
        Ok(())
    } else {
        Err(Error::Range)
    }
}

impl ErrorType for SpiNor {
    type Error = Error;
}

impl ReadNorFlash for SpiNor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        in_range(offset, bytes.len())?;
        for (at, part) in (offset..)
            .step_by(LONGEST_READ)
            .zip(bytes.chunks_mut(LONGEST_READ))
        {
            self.transfer(&command(READ, at), &[], part);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for SpiNor {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let len = to.checked_sub(from).ok_or(Error::Range)? as usize;
        in_range(from, len)?;
        if !(from as usize).is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) {
            return Err(Error::Range);
        }
        (from..to)
            .step_by(SECTOR)
            .try_for_each(|at| self.change(&command(ERASE_SECTOR, at), &[]))
    }

    fn write(&mut self, mut offset: u32, mut bytes: &[u8]) -> Result<(), Error> {
        in_range(offset, bytes.len())?;
        while !bytes.is_empty() {
            let room = PAGE - offset as usize % PAGE;
            let (page, rest) = bytes.split_at(room.min(bytes.len()));
            self.change(&command(PROGRAM_PAGE, offset), page)?;
            offset += page.len() as u32;
            bytes = rest;
        }
        Ok(())
    }
}
