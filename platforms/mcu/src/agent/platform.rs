//! A microcontroller as the driver sees it.

use core::cell::RefCell;

use embassy_futures::select::{Either3, select3};
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_storage::nor_flash::NorFlash;
use lightship_core::id::PublicKey;
use lightship_core::plan::Presence;
use lightship_core::record::Record;
use lightship_core::time::Instant;
use lightship_core::{Credentials, Failure, Note, StepId};
use lightship_driver::{Happening, Platform, Task};
use lightship_link::limits::CHUNK_BYTES;
use lightship_link::{BlobFailure, Blobs};
use lightship_wireguard::embassy::Control;

use super::application::Health;
use super::firmware::{Firmware, Piece, Turn};
use super::images::Images;
use super::records::{Key, Records};
use super::run::Keeping;
use super::tunnel::Ways;
use super::{Application, Board};
use crate::Why;
use crate::config::Entrance;
use crate::limits::BLANK_PIECE;
use crate::slots::Slots;

/// Slots, records, configuration and tunnel, as one.
pub(super) struct Mcu<'m, B, S, R: NorFlash, C, L> {
    pub(super) board: &'m RefCell<&'m mut B>,
    pub(super) application: &'m Application,
    pub(super) firmware: &'m mut Firmware<'m, S>,
    pub(super) records: &'m RefCell<Records<R>>,
    /// The partition that the device was configured through.
    pub(super) factory: C,
    pub(super) entrance: Option<Entrance>,
    pub(super) blobs: L,
    pub(super) ways: &'m Ways,
    pub(super) stack: Stack<'m>,
    pub(super) control: &'m Control<NoopRawMutex>,
    pub(super) keeping: Keeping,
    /// The fleet was reached in this life.
    pub(super) reached: bool,
}

impl<B: Board, S: Slots, R: NorFlash, C: NorFlash, L: Blobs> Mcu<'_, B, S, R, C, L> {
    /// What is known of the image that runs.
    fn presence(&self) -> Presence {
        let is_trial = self.firmware.report().why == Why::Trial;
        match (self.application.health(), self.keeping) {
            (Health::Ill, _) => Presence::Unhealthy,
            (Health::Well, _) => Presence::Healthy,
            (Health::Unknown, _) if !is_trial => Presence::Healthy,
            (Health::Unknown, Keeping::FleetReached) if self.reached => Presence::Healthy,
            (Health::Unknown, Keeping::FleetReached | Keeping::Confirmed) => Presence::Starting,
        }
    }

    /// Waits for the application, and for a piece of a fetch.
    async fn wait(&mut self, piece: Option<Piece>) -> Option<Happening> {
        let mut chunk = [0; CHUNK_BYTES];
        let read = read(&mut self.blobs, piece.as_ref(), &mut chunk);
        let requested = self.application.requested();
        match select3(requested, self.application.changed(), read).await {
            Either3::First(request) => Some(request),
            Either3::Second(()) => self.firmware.running_name().map(Happening::Changed),
            Either3::Third(read) => {
                let bytes = read.map(|len| &chunk[..len]);
                let happening = self.firmware.fetched(&piece?, bytes);
                if let Some(Happening::Progressed(_, bytes)) = happening {
                    self.board.borrow_mut().fetched(bytes);
                }
                happening
            }
        }
    }

    fn store_images(&mut self) {
        let mut buffer = [0; Images::BYTES];
        let bytes = self.firmware.images().encode(&mut buffer);
        let stored = self.records.borrow_mut().store(Key::Images, bytes);
        match stored {
            Ok(()) => self.firmware.stored(),
            Err(_) => self.firmware.unstored(),
        }
    }

    /// Erases what the device was configured through; what is still needed of it was kept when it was read.
    fn erase(&mut self) -> Result<(), Failure> {
        if is_blank(&mut self.factory).map_err(|_| Failure::Storage)? {
            return Ok(());
        }
        let end = self.factory.capacity() as u32;
        self.factory.erase(0, end).map_err(|_| Failure::Storage)
    }
}

/// Whether a partition is erased already, so that it is not worn by each boot.
fn is_blank<F: NorFlash>(flash: &mut F) -> Result<bool, F::Error> {
    let mut piece = [0; BLANK_PIECE];
    let end = flash.capacity() as u32;
    for at in (0..end).step_by(BLANK_PIECE) {
        flash.read(at, &mut piece)?;
        if piece.iter().any(|byte| *byte != 0xFF) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<B: Board, S: Slots, R: NorFlash, C: NorFlash, L: Blobs> Platform for Mcu<'_, B, S, R, C, L> {
    fn note(&mut self, _: Instant, note: &Note) {
        if matches!(note, Note::Connected) && !self.reached {
            self.reached = true;
            if self.keeping == Keeping::FleetReached {
                self.application.tell();
            }
        }
        self.board.borrow_mut().note(note);
    }

    async fn store(&mut self, record: Record, bytes: &[u8]) -> Result<(), Failure> {
        let stored = self.records.borrow_mut().store(Key::Core(record), bytes);
        stored.map_err(|_| Failure::Storage)
    }

    async fn erase_provisioning_key(&mut self) -> Result<(), Failure> {
        self.erase()?;
        self.entrance = None;
        Ok(())
    }

    async fn create_key(&mut self, _: u8) -> Result<PublicKey, Failure> {
        Err(Failure::Unusable)
    }

    async fn prepare(&mut self, credentials: &Credentials<'_>) -> Result<(), Failure> {
        let entrance = self.entrance.as_ref();
        self.ways
            .open(credentials, entrance, self.stack, self.control)
    }

    fn begin(&mut self, id: StepId, task: Task<'_>) {
        self.firmware.begin(id, &task);
    }

    fn cancel(&mut self, id: StepId) {
        self.firmware.cancel(id);
    }

    async fn next(&mut self) -> Happening {
        loop {
            let presence = self.presence();
            let piece = match self.firmware.turn(presence) {
                Turn::Tell(happening) => return happening,
                Turn::Store => {
                    self.store_images();
                    continue;
                }
                Turn::Reset => {
                    self.board.borrow_mut().reset();
                    return Happening::Ended;
                }
                Turn::Idle => None,
                Turn::Read(piece) => Some(piece),
            };
            if let Some(happening) = self.wait(piece).await {
                return happening;
            }
        }
    }

    fn raise_floor(&mut self, floor: u32) {
        self.firmware.raise_floor(floor);
    }

    fn identify(&mut self) {
        self.board.borrow_mut().identify();
    }

    async fn reboot(&mut self) {
        self.board.borrow_mut().reset();
    }
}

/// Reads a piece; without one, waits for ever.
async fn read(
    blobs: &mut impl Blobs,
    piece: Option<&Piece>,
    chunk: &mut [u8],
) -> Result<usize, Failure> {
    let Some(piece) = piece else {
        return core::future::pending().await;
    };
    let len = chunk.len().min(piece.left as usize);
    let offset = u64::from(piece.offset);
    match blobs.read(&piece.digest, offset, &mut chunk[..len]).await {
        Ok(len) => Ok(len),
        Err(BlobFailure::Absent) => Err(Failure::Network),
        Err(BlobFailure::Link(failure)) => Err(failure.into()),
    }
}
