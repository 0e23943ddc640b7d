//! The records: two pages that take turns.
//!
//! A record is appended to the page that holds the newest one; when that page is full, the other
//! is erased and takes over, and until its first record is whole the newest one is where it was.
//!
//! What must stay true, whatever a power cut leaves:
//! - a place that is not wholly erased is never programmed again;
//! - a page that an interrupted erase left behind is erased again before it is used, because it
//!   holds no newest record;
//! - a place that reads as erased and yet takes no record is passed over.

use crate::limits::{RECORD_TRIES, RECORDS_PER_PAGE};
use crate::{BootState, RECORD_LEN};
use embedded_storage::nor_flash::NorFlash;

/// The newest state, and where the next record goes.
#[derive(Debug)]
pub struct RecordLog<F> {
    flash: F,
    state: BootState,
    counter: u32,
    page: u8,
    next: usize,
}

/// A record could not be stored: the flash fails to erase or to program. The old one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFailed;

impl<F: NorFlash> RecordLog<F> {
    /// Records in one page.
    const PLACES: usize = {
        assert!(
            RECORD_LEN.is_multiple_of(F::WRITE_SIZE) && RECORD_LEN.is_multiple_of(F::READ_SIZE)
        );
        assert!(F::ERASE_SIZE >= RECORD_LEN);
        let fit = F::ERASE_SIZE / RECORD_LEN;
        if fit < RECORDS_PER_PAGE {
            fit
        } else {
            RECORDS_PER_PAGE
        }
    };

    /// Reads the newest record of a partition of two erase units.
    pub fn open(flash: F) -> Self {
        let mut log = Self {
            flash,
            state: BootState::NEW,
            counter: 0,
            page: 1,
            next: Self::PLACES,
        };
        log.scan(0);
        log.scan(1);
        log
    }

    /// The newest state.
    pub fn state(&self) -> &BootState {
        &self.state
    }

    /// Stores a state as the newest.
    ///
    /// # Errors
    ///
    /// If it was not stored; the state from before is still the newest.
    pub fn append(&mut self, state: &BootState) -> Result<(), RecordFailed> {
        let counter = self.counter.checked_add(1).ok_or(RecordFailed)?;
        let record = state.encode(counter);
        let (page, place) = self.store(&record).ok_or(RecordFailed)?;
        (self.page, self.next) = (page, place + 1);
        (self.state, self.counter) = (*state, counter);
        Ok(())
    }

    /// Takes the page's newest record if it is newer than what is known.
    ///
    /// Counters rise along a page, so its last whole record is its newest.
    fn scan(&mut self, page: u8) {
        let mut used = 0;
        for place in (0..Self::PLACES).rev() {
            let record = self.read(page, place);
            if record.is_some_and(|record| record.iter().all(|byte| *byte == 0xFF)) {
                continue;
            }
            used = used.max(place + 1);
            let Some((counter, state)) = record.as_ref().and_then(BootState::decode) else {
                continue;
            };
            if counter > self.counter {
                (self.state, self.counter) = (state, counter);
                (self.page, self.next) = (page, used);
            }
            return;
        }
    }

    /// Where the record lies now.
    fn store(&mut self, record: &[u8; RECORD_LEN]) -> Option<(u8, usize)> {
        if let Some(place) = self.store_in(self.page, self.next, record) {
            return Some((self.page, place));
        }
        let other = 1 - self.page;
        let start = Self::offset(other, 0);
        self.flash.erase(start, start + F::ERASE_SIZE as u32).ok()?;
        self.store_in(other, 0, record).map(|place| (other, place))
    }

    fn store_in(&mut self, page: u8, from: usize, record: &[u8; RECORD_LEN]) -> Option<usize> {
        (from..Self::PLACES).take(RECORD_TRIES).find(|place| {
            // An error is judged by what the flash holds, as a success is.
            let _ = self.flash.write(Self::offset(page, *place), record);
            self.read(page, *place).as_ref() == Some(record)
        })
    }

    fn read(&mut self, page: u8, place: usize) -> Option<[u8; RECORD_LEN]> {
        let mut record = [0; RECORD_LEN];
        self.flash
            .read(Self::offset(page, place), &mut record)
            .ok()?;
        Some(record)
    }

    const fn offset(page: u8, place: usize) -> u32 {
        page as u32 * F::ERASE_SIZE as u32 + (place * RECORD_LEN) as u32
    }
}
