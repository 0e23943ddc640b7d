//! The agent's records: values under small numbers, each whole or as it was before, whatever a power cut leaves.
//!
//! The partition has two sides that take turns.
//! A record is appended to the side in use; when it does not fit there, the other side is erased, gets the newest record of each number, the new one among them, and at last a head of its own, which makes it the side in use.
//! Until that head is whole, everything is where it was.
//!
//! ```text
//!  0  number    u8; 0xF0 for the head of a side
//!  1  format    u8, 1
//!  2  length    u16, bytes of the body
//!  4  turn      u32, how often the sides have taken turns; it rises
//!  8  CRC-32    of the body
//! 12  CRC-32    of bytes 0 to 11
//! 16  body      from the next word on
//! ```
//!
//! Numbers are little-endian; each record begins at a multiple of 16 bytes, or of a word where words are longer.
//!
//! What must stay true, whatever a power cut leaves:
//! - a word that may have been partly programmed is never programmed again: what is not blank is passed over, and a side is erased, in the same life, before it is written;
//! - a body is begun only when the words before it read as they should, so that what follows a torn head is blank, and no bytes of a body are ever taken for a record;
//! - a place that reads as blank and yet takes no record is passed over;
//! - what was stored is read back before it counts.

use embedded_storage::nor_flash::NorFlash;

use crate::limits::{LEDGER_NUMBERS, LEDGER_SIDE, RECORD_TRIES};

const FORMAT: u8 = 1;
const HEAD: usize = 16;
/// The number of a side's head.
const SIDE: u8 = 0xF0;
/// Bytes read or programmed at once: a multiple of every word size from 1 to 32 bytes.
const PIECE: usize = 64;
const CRC: crc::Crc<u32, crc::NoTable> = crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);

/// Records in a partition of their own.
#[derive(Debug)]
pub struct Ledger<F> {
    flash: F,
    /// Bytes of a side.
    len: u32,
    /// The side in use; `None` when nothing was ever stored.
    side: Option<u8>,
    turn: u32,
    /// Where the next record goes, from the start of the side.
    next: u32,
    records: [Option<Place>; LEDGER_NUMBERS],
}

/// A record was not read or not stored: the flash fails, or there is no room. The old one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unstored;

/// The partition cannot hold records: fewer than two erase units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusablePartition;

/// A record that is whole.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where it begins in the partition.
    at: u32,
    head: Head,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    number: u8,
    len: u16,
    turn: u32,
    sum: u32,
}

/// What is found where a record could begin.
enum Found {
    Blank,
    /// Torn, damaged, or not readable.
    Spoilt,
    Head(Head),
}

impl Head {
    fn of(number: u8, turn: u32, parts: &[&[u8]]) -> Option<Self> {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut digest = CRC.digest();
        parts.iter().for_each(|part| digest.update(part));
        Some(Self {
            number,
            len: u16::try_from(len).ok()?,
            turn,
            sum: digest.finalize(),
        })
    }

    fn encode(&self) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        (out[0], out[1]) = (self.number, FORMAT);
        out[2..4].copy_from_slice(&self.len.to_le_bytes());
        out[4..8].copy_from_slice(&self.turn.to_le_bytes());
        out[8..12].copy_from_slice(&self.sum.to_le_bytes());
        let sum = CRC.checksum(&out[..12]);
        out[12..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; HEAD]) -> Found {
        if bytes.iter().all(|byte| *byte == 0xFF) {
            return Found::Blank;
        }
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]));
        if number(12) != CRC.checksum(&bytes[..12]) || bytes[1] != FORMAT {
            return Found::Spoilt;
        }
        Found::Head(Self {
            number: bytes[0],
            len: u16::from_le_bytes([bytes[2], bytes[3]]),
            turn: number(4),
            sum: number(8),
        })
    }
}

impl<F: NorFlash> Ledger<F> {
    /// Every record begins at a multiple of this.
    const STEP: usize = {
        assert!(PIECE.is_multiple_of(F::WRITE_SIZE) && PIECE.is_multiple_of(F::READ_SIZE));
        assert!(HEAD.is_multiple_of(F::READ_SIZE));
        if F::WRITE_SIZE > HEAD {
            F::WRITE_SIZE
        } else {
            HEAD
        }
    };
    /// Places for the head of a side, of which the first that takes it has it.
    const HEADS: u32 = (RECORD_TRIES * Self::STEP) as u32;

    /// Reads the records of a partition that is used by nothing else.
    ///
    /// # Errors
    ///
    /// [`UnusablePartition`].
    pub fn open(flash: F) -> Result<Self, UnusablePartition> {
        let units = flash.capacity() / F::ERASE_SIZE / 2;
        let wanted = LEDGER_SIDE.div_ceil(F::ERASE_SIZE);
        let len = u32::try_from(units.min(wanted) * F::ERASE_SIZE);
        let len = len.map_err(|_| UnusablePartition)?;
        if len <= Self::HEADS {
            return Err(UnusablePartition);
        }
        let mut ledger = Self {
            flash,
            len,
            side: None,
            turn: 0,
            next: len,
            records: [None; LEDGER_NUMBERS],
        };
        for side in 0..2 {
            match ledger.turn_of(side) {
                Some(turn) if turn > ledger.turn => (ledger.side, ledger.turn) = (Some(side), turn),
                Some(_) | None => {}
            }
        }
        if let Some(side) = ledger.side {
            ledger.scan(side);
        }
        Ok(ledger)
    }

    /// Copies a record to the start of `into` and returns how long it is; `None` if it was never stored.
    ///
    /// # Errors
    ///
    /// When it is longer than `into`, or the flash does not give it back as it was.
    pub fn load(&mut self, number: u8, into: &mut [u8]) -> Result<Option<usize>, Unstored> {
        let Some(place) = self.records.get(usize::from(number)).ok_or(Unstored)? else {
            return Ok(None);
        };
        let (place, len) = (*place, usize::from(place.head.len));
        let into = into.get_mut(..len).ok_or(Unstored)?;
        let mut filled = 0;
        self.read(place, |piece| {
            into[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        })?;
        Ok(Some(len))
    }

    /// Stores a record, in as many parts as it comes in; it is there after a power cut at any later time.
    ///
    /// # Errors
    ///
    /// When it was not stored; the one from before still is.
    pub fn store(&mut self, number: u8, parts: &[&[u8]]) -> Result<(), Unstored> {
        if usize::from(number) >= LEDGER_NUMBERS {
            return Err(Unstored);
        }
        let head = Head::of(number, self.turn, parts).ok_or(Unstored)?;
        if let Some(side) = self.side
            && let Some(place) = self.append(side, head, parts)
        {
            self.records[usize::from(number)] = Some(place);
            return Ok(());
        }
        self.turn_over(number, parts)
    }

    /// Appends a record to the side in use, if it takes it.
    fn append(&mut self, side: u8, head: Head, parts: &[&[u8]]) -> Option<Place> {
        (0..RECORD_TRIES).find_map(|_| {
            let at = self.start(side) + self.next;
            self.write(side, head, |pen| {
                parts.iter().try_for_each(|part| pen.push(part))
            })
            .then_some(Place { at, head })
        })
    }

    /// Makes the other side the one in use, with the newest of all records, this one among them.
    fn turn_over(&mut self, number: u8, parts: &[&[u8]]) -> Result<(), Unstored> {
        let (old, turn) = (self.records, self.turn.checked_add(1).ok_or(Unstored)?);
        let mut new = [None; LEDGER_NUMBERS];
        let head = Head::of(number, turn, parts).ok_or(Unstored)?;
        let others = || {
            let others = old.iter().flatten();
            others.filter(|place| place.head.number != number)
        };
        let lens = others().map(|place| Self::len_of(place.head));
        if Self::HEADS + Self::len_of(head) + lens.sum::<u32>() > self.len {
            return Err(Unstored);
        }
        let (before, side) = (self.next, self.side.map_or(0, |side| 1 - side));
        let start = self.start(side);
        self.flash
            .erase(start, start + self.len)
            .map_err(|_| Unstored)?;
        self.next = Self::HEADS;
        let filled = others().try_for_each(|place| {
            let copied = self.copy(side, *place, turn)?;
            new[usize::from(copied.head.number)] = Some(copied);
            Some(())
        });
        let filled = filled.and_then(|()| self.append(side, head, parts));
        let filled = filled.filter(|_| self.begin(side, turn));
        let Some(place) = filled else {
            self.next = before;
            return Err(Unstored);
        };
        new[usize::from(number)] = Some(place);
        (self.side, self.turn, self.records) = (Some(side), turn, new);
        Ok(())
    }

    /// Copies a record to a side that is being filled.
    fn copy(&mut self, side: u8, from: Place, turn: u32) -> Option<Place> {
        let head = Head { turn, ..from.head };
        (0..RECORD_TRIES).find_map(|_| {
            let at = self.start(side) + self.next;
            self.write(side, head, |pen| {
                let body = from.at + Self::STEP as u32;
                let mut piece = [0; PIECE];
                for done in (0..usize::from(head.len)).step_by(PIECE) {
                    let piece = Pen::<F>::piece(&mut piece, usize::from(head.len) - done);
                    pen.flash
                        .read(body + done as u32, piece)
                        .map_err(|_| Unstored)?;
                    let len = piece.len().min(usize::from(head.len) - done);
                    pen.push(&piece[..len])?;
                }
                Ok(())
            })
            .then_some(Place { at, head })
        })
    }

    /// Writes a record where the next one goes, and says whether it is there now.
    fn write(
        &mut self,
        side: u8,
        head: Head,
        body: impl FnOnce(&mut Pen<'_, F>) -> Result<(), Unstored>,
    ) -> bool {
        let len = Self::len_of(head);
        if self.next + len > self.len {
            return false;
        }
        let at = self.start(side) + self.next;
        // What it takes even if it turns out to be spoilt: without a head, one place.
        self.next += Self::STEP as u32;
        if !self.write_head(at, head) {
            return false;
        }
        self.next += len - Self::STEP as u32;
        let mut pen = Pen {
            flash: &mut self.flash,
            at: at + Self::STEP as u32,
            held: [0xFF; PIECE],
            len: 0,
        };
        // An error is judged by what the flash holds, as a success is.
        let _ = body(&mut pen).and_then(|()| pen.finish());
        self.read(Place { at, head }, |_| ()).is_ok()
    }

    /// Programs a head, and says whether it is there now.
    fn write_head(&mut self, at: u32, head: Head) -> bool {
        let mut words = [0xFF; PIECE];
        words[..HEAD].copy_from_slice(&head.encode());
        let _ = self.flash.write(at, &words[..Self::STEP]);
        matches!(self.head(at), Found::Head(found) if found == head)
    }

    /// Makes a side that holds everything the one in use.
    fn begin(&mut self, side: u8, turn: u32) -> bool {
        let start = self.start(side);
        let head = Head::of(SIDE, turn, &[]);
        let mut places = (start..start + Self::HEADS).step_by(Self::STEP);
        head.is_some_and(|head| places.any(|at| self.write_head(at, head)))
    }

    /// The turn of a side that has been filled.
    fn turn_of(&mut self, side: u8) -> Option<u32> {
        let start = self.start(side);
        let places = (start..start + Self::HEADS).step_by(Self::STEP);
        let turns = places.filter_map(|at| match self.head(at) {
            Found::Head(head) if head.number == SIDE => Some(head.turn),
            Found::Head(_) | Found::Blank | Found::Spoilt => None,
        });
        turns.max()
    }

    /// Finds the newest record of each number, and where the next one goes.
    fn scan(&mut self, side: u8) {
        let (start, mut at) = (self.start(side), Self::HEADS);
        self.next = at;
        while at + Self::STEP as u32 <= self.len {
            let found = self.head(start + at);
            let place = at;
            at += match found {
                Found::Head(head) => Self::len_of(head),
                Found::Blank | Found::Spoilt => Self::STEP as u32,
            };
            let Found::Head(head) = found else {
                if matches!(found, Found::Spoilt) {
                    self.next = at;
                }
                continue;
            };
            self.next = at;
            self.take(Place {
                at: start + place,
                head,
            });
        }
    }

    /// Takes a record as the newest of its number, if it is whole and of this turn.
    fn take(&mut self, place: Place) {
        let is_whole = place.head.turn == self.turn && self.read(place, |_| ()).is_ok();
        let record = self.records.get_mut(usize::from(place.head.number));
        if let Some(record) = record.filter(|_| is_whole) {
            *record = Some(place);
        }
    }

    fn head(&mut self, at: u32) -> Found {
        let mut bytes = [0; HEAD];
        match self.flash.read(at, &mut bytes) {
            Ok(()) => Head::decode(&bytes),
            Err(_) => Found::Spoilt,
        }
    }

    /// Reads a record in pieces and compares its sum.
    fn read(&mut self, place: Place, mut take: impl FnMut(&[u8])) -> Result<(), Unstored> {
        let (mut piece, len) = ([0; PIECE], usize::from(place.head.len));
        let body = place.at + Self::STEP as u32;
        let mut digest = CRC.digest();
        for done in (0..len).step_by(PIECE) {
            let read = Pen::<F>::piece(&mut piece, len - done);
            let at = body + done as u32;
            self.flash.read(at, read).map_err(|_| Unstored)?;
            let piece = &read[..PIECE.min(len - done)];
            digest.update(piece);
            take(piece);
        }
        match digest.finalize() == place.head.sum {
            true => Ok(()),
            false => Err(Unstored),
        }
    }

    const fn start(&self, side: u8) -> u32 {
        side as u32 * self.len
    }

    /// Bytes that a record takes.
    const fn len_of(head: Head) -> u32 {
        (Self::STEP + (head.len as usize).next_multiple_of(Self::STEP)) as u32
    }
}

/// Programs a body, piece by piece.
struct Pen<'f, F> {
    flash: &'f mut F,
    at: u32,
    held: [u8; PIECE],
    len: usize,
}

impl<F: NorFlash> Pen<'_, F> {
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), Unstored> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(PIECE - self.len));
            self.held[self.len..self.len + now.len()].copy_from_slice(now);
            self.len += now.len();
            bytes = rest;
            if self.len == PIECE {
                self.finish()?;
            }
        }
        Ok(())
    }

    /// Programs what is held.
    fn finish(&mut self) -> Result<(), Unstored> {
        let len = self.len.next_multiple_of(F::WRITE_SIZE);
        let written = self.flash.write(self.at, &self.held[..len]);
        written.map_err(|_| Unstored)?;
        self.at += len as u32;
        (self.held, self.len) = ([0xFF; PIECE], 0);
        Ok(())
    }

    /// As much of `piece` as has to be read for `len` more bytes.
    fn piece(piece: &mut [u8; PIECE], len: usize) -> &mut [u8] {
        &mut piece[..len.min(PIECE).next_multiple_of(F::READ_SIZE)]
    }
}
