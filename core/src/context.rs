//! What all parts of the agent share: the present time, chance, the notes that wait and the ledger of what is saved.

use heapless::Deque;

use crate::agent::Wake;
use crate::event::Failure;
use crate::id::Digest;
use crate::limits::{BACKOFF_FIRST, BACKOFF_LAST, NOTES, RETRY_AFTER_S};
use crate::note::Note;
use crate::record::Record;
use crate::soonest::Soonest;
use crate::time::{Duration, Instant};

// As with the agent, what is small comes first.
#[repr(C)]
pub(crate) struct Context {
    pub(crate) now: Instant,
    pub(crate) ledger: Ledger,
    notes_lost: u16,
    /// Where the next random bytes come from; each use replaces it, so that what it was cannot be told from what it is.
    seed: [u8; 32],
    notes: Deque<Note, NOTES>,
}

/// The source of keys is not shown.
impl core::fmt::Debug for Context {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .field("ledger", &self.ledger)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(seed: [u8; 32], now: Instant) -> Self {
        Self {
            now,
            ledger: Ledger::default(),
            seed,
            notes: Deque::new(),
            notes_lost: 0,
        }
    }

    /// Random bytes, fit for keys if the seed was.
    pub(crate) fn random<const LEN: usize>(&mut self) -> [u8; LEN] {
        const { assert!(LEN <= 32, "one draw is 32 bytes") }
        let draw = self.draw();
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(&draw.0[..LEN]);
        bytes
    }

    /// Any number, for jitter.
    #[inline(never)]
    pub(crate) fn chance(&mut self) -> u32 {
        u32::from_le_bytes(self.random())
    }

    /// What is drawn and the next seed are digests of the seed under different names: none of the three can be told from the others (as in Hash_DRBG, NIST SP 800-90A, section 10.1.1, whose reseeding is the next boot).
    fn draw(&mut self) -> Digest {
        let seed = Digest(self.seed);
        self.seed = seed.chain(b"seed").0;
        seed.chain(b"draw")
    }

    /// Queues a note; when nobody polls, the oldest gives way.
    pub(crate) fn note(&mut self, note: Note) {
        if self.notes.is_full() {
            self.notes.pop_front();
            self.notes_lost = self.notes_lost.saturating_add(1);
        }
        self.notes
            .push_back(note)
            .unwrap_or_else(|_| unreachable!("room was just made"));
    }

    pub(crate) fn next_note(&mut self) -> Option<Note> {
        if self.notes_lost > 0 {
            return Some(Note::NotesLost(core::mem::take(&mut self.notes_lost)));
        }
        self.notes.pop_front()
    }

    /// Marks a record as changed: it is to be saved, and what depends on it waits.
    #[inline(never)]
    pub(crate) fn changed(&mut self, record: Record) {
        self.ledger.change(record);
    }

    pub(crate) fn is_saved(&self, record: Record) -> bool {
        self.ledger.is_saved(record)
    }

    /// Puts off the next attempt.
    pub(crate) fn back_off(&mut self, backoff: &mut Backoff) {
        let chance = self.chance();
        backoff.fail(self.now, chance);
    }
}

/// When something that failed is tried again: doubling, with jitter, from [`BACKOFF_FIRST`] to [`BACKOFF_LAST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u8,
    until: Instant,
}

impl Backoff {
    /// Nothing has failed.
    pub(crate) const NONE: Self = Self {
        failures: 0,
        until: Instant::BOOT,
    };

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// Failures in a row.
    pub(crate) const fn failures(&self) -> u8 {
        self.failures
    }

    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Waits between half and all of the doubled time, so that a fleet that lost its server does not come back in step.
    pub(crate) fn fail(&mut self, now: Instant, chance: u32) {
        let factor = 1 << self.failures.min(16);
        let longest = BACKOFF_FIRST.times(factor).min(BACKOFF_LAST).as_millis();
        let jitter = (longest / 2 * u64::from(chance)) >> 32;
        self.failures = self.failures.saturating_add(1);
        self.until = now + Duration::from_millis(longest / 2 + jitter);
    }

    /// Waits at least as long as the other end asked, within [`RETRY_AFTER_S`].
    pub(crate) fn obey(&mut self, now: Instant, retry_after_s: u32) {
        let asked = Duration::from_secs(u64::from(retry_after_s.min(RETRY_AFTER_S)));
        self.until = self.until.max(now + asked);
    }
}

/// Which records are saved as they are in memory; one bit for each record, by its index.
#[derive(Default, Debug)]
pub(crate) struct Ledger {
    dirty: u8,
    in_flight: u8,
    failed: u8,
    halted: u8,
    backoffs: [Backoff; 4],
}

const fn bit(record: Record) -> u8 {
    1 << record.index()
}

impl Ledger {
    /// Takes note that a record is no longer as it was saved.
    pub(crate) fn change(&mut self, record: Record) {
        self.dirty |= bit(record);
    }

    /// The next record to save; it is in flight from now on. One at a time.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Record> {
        if self.in_flight != 0 {
            return None;
        }
        let due = self.dirty & !self.halted;
        for (record, backoff) in Record::ALL.iter().zip(&self.backoffs) {
            if due & bit(*record) != 0 && backoff.is_over(now) {
                self.dirty &= !bit(*record);
                self.in_flight = bit(*record);
                return Some(*record);
            }
        }
        None
    }

    /// Takes the answer; whether it was waited for.
    pub(crate) fn stored(
        &mut self,
        now: Instant,
        chance: u32,
        record: Record,
        result: Result<(), Failure>,
    ) -> bool {
        let (bit, backoff) = (bit(record), &mut self.backoffs[record.index()]);
        if self.in_flight & bit == 0 {
            return false;
        }
        self.in_flight = 0;
        match result {
            Ok(()) => {
                self.failed &= !bit;
                backoff.reset();
            }
            Err(_) => {
                self.failed |= bit;
                self.dirty |= bit;
                backoff.fail(now, chance);
            }
        }
        true
    }

    /// Leaves a record as it is on disk: it is from a newer agent.
    pub(crate) fn halt(&mut self, record: Record) {
        self.halted |= bit(record);
    }

    pub(crate) fn is_halted(&self, record: Record) -> bool {
        self.halted & bit(record) != 0
    }

    pub(crate) fn is_saved(&self, record: Record) -> bool {
        (self.dirty | self.in_flight) & bit(record) == 0
    }

    /// Whether it is not saved because the last attempt failed.
    pub(crate) fn has_failed(&self, record: Record) -> bool {
        self.failed & bit(record) != 0
    }

    /// When failed saves are tried again.
    pub(crate) fn deadlines(&self, soonest: &mut Soonest) {
        for (index, backoff) in self.backoffs.iter().enumerate() {
            if self.dirty & !self.halted & 1 << index != 0 {
                soonest.offer(Wake::Record, backoff.until());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_and_have_an_end() {
        let now = Instant::from_millis(1_000);
        for chance in [0, u32::MAX / 2, u32::MAX] {
            let mut backoff = Backoff::default();
            let mut longest = BACKOFF_FIRST;
            for _ in 0..40 {
                backoff.fail(now, chance);
                let wait = backoff.until() - now;
                assert!(wait.as_millis() >= longest.as_millis() / 2, "{wait:?}");
                assert!(wait <= longest, "{wait:?}");
                longest = longest.times(2).min(BACKOFF_LAST);
            }
        }
    }

    #[test]
    fn retry_after_is_in_seconds_and_no_longer_than_a_day() {
        let mut backoff = Backoff::default();
        backoff.obey(Instant::BOOT, 30);
        assert_eq!(backoff.until(), Instant::from_millis(30_000));
        backoff.obey(Instant::BOOT, u32::MAX);
        assert_eq!(backoff.until(), Instant::from_millis(86_400_000));
    }

    #[test]
    fn a_record_that_changes_while_it_is_saved_is_saved_again() {
        let mut ledger = Ledger::default();
        ledger.change(Record::State);
        assert_eq!(ledger.next(Instant::BOOT), Some(Record::State));
        ledger.change(Record::State);
        assert_eq!(ledger.next(Instant::BOOT), None);
        assert!(ledger.stored(Instant::BOOT, 0, Record::State, Ok(())));
        assert!(!ledger.is_saved(Record::State));
        assert_eq!(ledger.next(Instant::BOOT), Some(Record::State));
        assert!(ledger.stored(Instant::BOOT, 0, Record::State, Ok(())));
        assert!(ledger.is_saved(Record::State));
        assert!(!ledger.stored(Instant::BOOT, 0, Record::State, Ok(())));
    }
}
