//! A model of flash whose power is cut at a chosen operation.
//!
//! One operation is the program of one word or the erase of one unit.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use std::cell::RefCell;
use std::rc::Rc;

/// What a cut leaves of the operation it falls into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// The operation did not begin.
    Before,
    /// Its first part happened.
    TornPrefix,
    /// Its last part happened.
    TornSuffix,
    /// Any part happened, on flash that takes one program per word and erase: a torn word refuses
    /// another program even if it reads as erased, it may not be readable at all, and an
    /// interrupted erase leaves anything.
    WriteOnce,
}

impl Model {
    pub(crate) const ALL: [Self; 4] = [
        Self::Before,
        Self::TornPrefix,
        Self::TornSuffix,
        Self::WriteOnce,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Erased,
    Programmed,
    /// An error-correcting flash reports this word on each read.
    Unreadable,
}

/// What survives without power.
#[derive(Clone)]
pub(crate) struct Medium {
    bytes: Vec<u8>,
    words: Vec<Word>,
    word: usize,
}

impl Medium {
    pub(crate) fn new(len: usize, word: usize) -> Self {
        Self {
            bytes: vec![0xFF; len],
            words: vec![Word::Erased; len / word],
            word,
        }
    }

    /// Writes an image as the factory does.
    pub(crate) fn install(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        let words = at / self.word..(at + bytes.len()).div_ceil(self.word);
        self.words[words].fill(Word::Programmed);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The supply of all the device's flash.
pub(crate) struct Power {
    pub(crate) ops: u64,
    pub(crate) cut_at: u64,
    pub(crate) dead: bool,
    pub(crate) model: Model,
    random: u64,
    /// A word may be programmed again to clear more of its bits, as flash that is not write-once allows.
    pub(crate) clears_more: bool,
    /// Operations that fail without a cut, for flash that is broken.
    pub(crate) failing: Option<fn(u64) -> bool>,
}

impl Power {
    pub(crate) fn new(model: Model, seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self {
            ops: 0,
            cut_at: u64::MAX,
            dead: false,
            model,
            random,
            clears_more: false,
            failing: None,
        }
    }

    /// xorshift64
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random() >> 16) as usize % bound.max(1)
    }

    /// `Ok(true)` for an operation that happens, `Ok(false)` for the one that the cut falls into.
    fn step(&mut self) -> Result<bool, Failure> {
        if self.dead {
            return Err(Failure::NoPower);
        }
        self.ops += 1;
        if self.failing.is_some_and(|fails| fails(self.ops)) {
            return Err(Failure::Broken);
        }
        self.dead = self.ops == self.cut_at;
        Ok(!self.dead)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    NoPower,
    Broken,
    NotErased,
    Unreadable,
    Misaligned,
}

impl NorFlashError for Failure {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Misaligned => NorFlashErrorKind::NotAligned,
            Self::NoPower | Self::Broken | Self::NotErased | Self::Unreadable => {
                NorFlashErrorKind::Other
            }
        }
    }
}

/// A bank with words of `W` bytes and erase units of `E`.
#[derive(Clone)]
pub(crate) struct Flash<const W: usize, const E: usize> {
    pub(crate) medium: Rc<RefCell<Medium>>,
    pub(crate) power: Rc<RefCell<Power>>,
}

impl<const W: usize, const E: usize> ErrorType for Flash<W, E> {
    type Error = Failure;
}

impl<const W: usize, const E: usize> ReadNorFlash for Flash<W, E> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Failure> {
        if self.power.borrow().dead {
            return Err(Failure::NoPower);
        }
        let (medium, from) = (self.medium.borrow(), offset as usize);
        let words = from / W..(from + out.len()).div_ceil(W);
        if medium.words[words].contains(&Word::Unreadable) {
            return Err(Failure::Unreadable);
        }
        out.copy_from_slice(&medium.bytes[from..from + out.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.medium.borrow().bytes.len()
    }
}

impl<const W: usize, const E: usize> NorFlash for Flash<W, E> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failure> {
        let (from, to) = (from as usize, to as usize);
        if !from.is_multiple_of(E) || !to.is_multiple_of(E) {
            return Err(Failure::Misaligned);
        }
        for at in (from..to).step_by(E) {
            let (mut medium, mut power) = (self.medium.borrow_mut(), self.power.borrow_mut());
            if !power.step()? {
                torn_erase::<W, E>(&mut medium, &mut power, at);
                return Err(Failure::NoPower);
            }
            medium.bytes[at..at + E].fill(0xFF);
            medium.words[at / W..(at + E) / W].fill(Word::Erased);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failure> {
        let from = offset as usize;
        if !from.is_multiple_of(W) || !bytes.len().is_multiple_of(W) {
            return Err(Failure::Misaligned);
        }
        let (mut medium, mut power) = (self.medium.borrow_mut(), self.power.borrow_mut());
        for (at, word) in (from..).step_by(W).zip(bytes.chunks(W)) {
            let whole = power.step()?;
            let held = &medium.bytes[at..at + W];
            assert!(
                power.clears_more || held.iter().all(|byte| *byte == 0xFF),
                "a word that does not read as erased is programmed"
            );
            let once = power.model == Model::WriteOnce;
            if once && medium.words[at / W] != Word::Erased {
                return Err(Failure::NotErased);
            }
            if !whole {
                torn_program::<W>(&mut medium, &mut power, at, word);
                return Err(Failure::NoPower);
            }
            medium.words[at / W] = Word::Programmed;
            for (held, byte) in medium.bytes[at..at + W].iter_mut().zip(word) {
                *held &= byte;
            }
        }
        Ok(())
    }
}

/// Which bits of a word are programmed before the power is gone.
fn torn_mask(power: &mut Power, bits: usize) -> impl Fn(usize) -> bool + use<> {
    let border = 1 + power.below(bits - 1);
    let prefix = match power.model {
        Model::TornPrefix => true,
        Model::TornSuffix => false,
        Model::Before | Model::WriteOnce => power.below(2) == 0,
    };
    move |bit| (bit < border) == prefix
}

fn torn_program<const W: usize>(medium: &mut Medium, power: &mut Power, at: usize, word: &[u8]) {
    if power.model == Model::Before {
        return;
    }
    let programmed = torn_mask(power, W * 8);
    for (index, byte) in word.iter().enumerate() {
        let cleared = (0..8).filter(|bit| programmed(index * 8 + bit) && byte >> bit & 1 == 0);
        medium.bytes[at + index] &= !cleared.fold(0, |bits, bit| bits | 1 << bit);
    }
    let unreadable = power.model == Model::WriteOnce && power.below(2) == 0;
    medium.words[at / W] = if unreadable {
        Word::Unreadable
    } else {
        Word::Programmed
    };
}

fn torn_erase<const W: usize, const E: usize>(medium: &mut Medium, power: &mut Power, at: usize) {
    let (words, bytes) = (at / W..(at + E) / W, at..at + E);
    match power.model {
        Model::Before => {}
        Model::TornPrefix | Model::TornSuffix => {
            let erased = torn_mask(power, E / W);
            for word in words.clone().filter(|word| erased(word - words.start)) {
                medium.words[word] = Word::Erased;
                medium.bytes[word * W..(word + 1) * W].fill(0xFF);
            }
        }
        Model::WriteOnce => match power.below(4) {
            0 => {}
            // It reads as erased, and takes no program.
            1 => {
                medium.bytes[bytes].fill(0xFF);
                medium.words[words].fill(Word::Programmed);
            }
            2 => medium.words[words].fill(Word::Unreadable),
            _ => {
                let erased = torn_mask(power, E / W);
                for word in words.clone() {
                    let random = power.random() as u8;
                    let bytes = &mut medium.bytes[word * W..(word + 1) * W];
                    match erased(word - words.start) {
                        true => bytes.fill(0xFF),
                        false => bytes.iter_mut().for_each(|byte| *byte |= random),
                    }
                    medium.words[word] = Word::Programmed;
                }
            }
        },
    }
}
