//! Firmware slots, as the application uses them.
//!
//! The way of an update: [`begin`](Slots::begin), [`write`](Slots::write) until everything is
//! there, [`verify`](Slots::verify), [`mark_trial`](Slots::mark_trial), reset; then, in the new
//! image, [`confirm`](Slots::confirm), or [`revert`](Slots::revert) and reset.
//!
//! Calls take as long as the flash takes: one `write` of up to 256 bytes erases one unit at most.

mod layout;
mod updater;
mod writer;

pub use layout::{Ab, Layout};
pub use updater::Updater;

use crate::{Outcome, Slot, Why};
use lightship_image::{Header, Reject};

/// An image to be staged, as the release names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Artifact {
    /// SHA-256 of the whole image, header included.
    pub digest: [u8; 32],
    /// Bytes of the whole image.
    pub size: u32,
}

/// What a device says of its firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The slot that runs.
    pub slot: Slot,
    /// Why it runs.
    pub why: Why,
    /// How the last update ended; `None` while one is undecided.
    pub outcome: Outcome,
    /// Lowest security version that may run.
    pub floor: u32,
}

/// Why a call did nothing, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A trial is pending or runs: its end comes first.
    TrialRunning,
    /// The running image is not on trial.
    NotOnTrial,
    /// Nothing is being staged.
    NothingStaged,
    /// The image is smaller than a header or larger than the slot.
    WrongSize,
    /// The next bytes to write are those at this offset.
    OutOfOrder {
        /// The offset of the next byte.
        expected: u32,
    },
    /// More bytes were written than the image has.
    TrailingBytes,
    /// The image is not wholly written; these bytes are next.
    Incomplete {
        /// The offset of the next byte.
        expected: u32,
    },
    /// The image is not one that this device runs.
    Rejected(Reject),
    /// The flash fails to erase or to program.
    FlashFailed,
    /// A record could not be stored; what was remembered before still holds.
    RecordFailed,
}

/// Stages an image, has it tried, and keeps it or goes back.
pub trait Slots {
    /// Which image runs, why, and how the last update ended.
    fn report(&self) -> Report;

    /// The header of the image that runs.
    ///
    /// # Errors
    ///
    /// If the flash cannot be read.
    fn running(&mut self) -> Result<Header, Error>;

    /// The image that runs, as a release names it: hashed as it lies in flash.
    ///
    /// # Errors
    ///
    /// If the flash cannot be read.
    fn artifact(&mut self) -> Result<Artifact, Error>;

    /// Whether the staged image is this one, whole, as it lies in flash.
    fn holds(&mut self, artifact: &Artifact) -> bool;

    /// Starts to stage an image, or goes on where a reboot interrupted it.
    /// Returns the offset of the first byte to write.
    ///
    /// # Errors
    ///
    /// During a trial, for an image that cannot fit, and if the start cannot be recorded.
    fn begin(&mut self, artifact: &Artifact) -> Result<u32, Error>;

    /// What is being staged in this life, and the offset of its next byte.
    fn staging(&self) -> Option<(Artifact, u32)>;

    /// Writes the bytes at `offset` and returns the offset of the next.
    ///
    /// It is less than the end of `bytes` when an erase unit had to be started again: the bytes
    /// from there on are then wanted once more.
    ///
    /// # Errors
    ///
    /// See [`Error`]; after [`Error::FlashFailed`] the staging can begin again.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<u32, Error>;

    /// Judges the staged image as it lies in flash.
    ///
    /// # Errors
    ///
    /// If it is not the artifact, or not an image that this device runs. A refused image is
    /// forgotten: staging it again starts at its first byte.
    fn verify(&mut self) -> Result<Header, Error>;

    /// Judges the staged image and has the next boot try it.
    ///
    /// # Errors
    ///
    /// As [`Slots::verify`], and if it cannot be recorded.
    fn mark_trial(&mut self) -> Result<(), Error>;

    /// Keeps the image that runs on trial, and raises the version floor to `floor`, but not above
    /// the running image's own security version.
    ///
    /// # Errors
    ///
    /// If the running image is not on trial or it cannot be recorded: then it still is.
    fn confirm(&mut self, floor: u32) -> Result<(), Error>;

    /// Has the next boot go back to the image from before.
    ///
    /// # Errors
    ///
    /// If the running image is not on trial or it cannot be recorded: then it still is.
    fn revert(&mut self) -> Result<(), Error>;

    /// Forgets how the last update ended, so that it is not taken for the end of the next one.
    ///
    /// # Errors
    ///
    /// If it cannot be recorded.
    fn acknowledge(&mut self) -> Result<(), Error>;

    /// Raises the version floor to `floor`, but not above the confirmed image's own security version; an image on trial raises nothing.
    ///
    /// # Errors
    ///
    /// During a trial, and if it cannot be recorded.
    fn raise_floor(&mut self, floor: u32) -> Result<(), Error>;
}
