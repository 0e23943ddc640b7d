//! The agent's records under power cuts, on the model of flash of the slots' tests.
//!
//! Each record is after any cut what it was or what it was to be, the others are untouched, and new ones are taken.
//! All four models, six geometries; all single cuts, and sampled double cuts of which the second falls into what the next life writes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "the slots' tests use more of it")]
#[path = "power_cuts/flash.rs"]
mod flash;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;

use flash::{Flash, Medium, Model, Power};
use lightship_mcu::ledger::Ledger;

const PAGES: usize = 4;
const KEYS: u8 = 4;
const WRITES: u8 = 40;
/// Sampled double cuts of each model and geometry.
const DOUBLES: u64 = 1000;
/// What random part of a torn operation happened: each single cut is tried with as many.
const SEEDS: u64 = 2;

/// The value of the n-th write: its length differs, too, and one is empty.
fn value(number: u8) -> Vec<u8> {
    vec![number; usize::from(number % 7) * 19]
}

/// What each number must be, or may be instead.
type Expected = [[Option<Vec<u8>>; 2]; KEYS as usize];

/// A device whose power is cut, whose flash stays.
struct Device<const W: usize, const E: usize> {
    medium: Rc<RefCell<Medium>>,
    expected: Expected,
    written: u8,
}

impl<const W: usize, const E: usize> Device<W, E> {
    fn new() -> Self {
        Self {
            medium: Rc::new(RefCell::new(Medium::new(PAGES * E, W))),
            expected: Expected::default(),
            written: 0,
        }
    }

    /// Boots, looks at everything, writes until the power goes; how many operations there were, and whether it went.
    fn live(&mut self, model: Model, seed: u64, cut_at: u64) -> Result<(u64, bool), String> {
        let power = Rc::new(RefCell::new(Power::new(model, seed)));
        power.borrow_mut().cut_at = cut_at;
        let flash = Flash::<W, E> {
            medium: self.medium.clone(),
            power: power.clone(),
        };
        let mut ledger = Ledger::open(flash).unwrap();
        for number in 0..KEYS {
            let mut into = [0; 256];
            let found = ledger.load(number, &mut into);
            let found = found.map_err(|error| format!("record {number}: {error:?}"))?;
            let found = found.map(|len| into[..len].to_vec());
            let expected = &mut self.expected[usize::from(number)];
            if !expected.contains(&found) {
                return Err(format!("record {number} is {found:?}, not {expected:?}"));
            }
            *expected = [found.clone(), found];
        }
        while self.written < WRITES {
            let (number, bytes) = (self.written % KEYS, value(self.written));
            let halves = bytes.split_at(bytes.len() / 3);
            let stored = ledger.store(number, &[halves.0, halves.1]);
            let expected = &mut self.expected[usize::from(number)];
            match (stored, power.borrow().dead) {
                (Ok(()), _) => *expected = [Some(bytes.clone()), Some(bytes)],
                (Err(_), true) => {
                    expected[1] = Some(bytes);
                    return Ok((power.borrow().ops, true));
                }
                (Err(error), false) => return Err(format!("{error:?} with power")),
            }
            self.written += 1;
        }
        // A store whose very last operation was cut may have counted.
        let (ops, dead) = (power.borrow().ops, power.borrow().dead);
        Ok((ops, dead))
    }
}

/// One life for each cut, then one to the end, then a look.
fn story<const W: usize, const E: usize>(
    model: Model,
    seed: u64,
    cuts: &[u64],
) -> Result<u64, String> {
    let mut device = Device::<W, E>::new();
    let mut ops = 0;
    for cut in cuts.iter().copied().chain([u64::MAX, u64::MAX]) {
        let lived = device.live(model, seed.wrapping_add(cut), cut);
        let (these, dead) = lived.map_err(|why| {
            format!("{model:?} W={W} E={E} seed {seed} cuts {cuts:?}, life of {cut}: {why}")
        })?;
        assert!(dead == (cut <= these), "a cut at {cut} of {these}");
        ops = these.max(ops);
    }
    Ok(ops)
}

/// Tries all; how many cuts, and what went wrong.
fn cut_everywhere<const W: usize, const E: usize>(model: Model, wrong: &mut Vec<String>) -> u64 {
    let ops = story::<W, E>(model, 1, &[]).unwrap();
    let mut tried = 0;
    let mut run = |seed, cuts: &[u64]| {
        tried += 1;
        wrong.extend(story::<W, E>(model, seed, cuts).err());
    };
    for seed in 0..SEEDS {
        (1..=ops).for_each(|cut| run(seed, &[cut]));
    }
    for double in 0..DOUBLES {
        // The second cut falls into one of the first operations after the first, where the rest of it matters, or anywhere.
        let mixed = double.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let bound = if double % 2 == 0 { 12 } else { ops };
        let second = 1 + (mixed >> 20) % bound;
        run(double, &[1 + mixed % ops, second]);
    }
    tried
}

fn in_each_geometry(model: Model) -> (u64, Vec<String>) {
    let (mut cuts, mut wrong) = (0, Vec::new());
    cuts += cut_everywhere::<1, 512>(model, &mut wrong);
    cuts += cut_everywhere::<4, 512>(model, &mut wrong);
    cuts += cut_everywhere::<4, 1024>(model, &mut wrong);
    cuts += cut_everywhere::<8, 512>(model, &mut wrong);
    cuts += cut_everywhere::<16, 512>(model, &mut wrong);
    cuts += cut_everywhere::<32, 1024>(model, &mut wrong);
    println!("{model:?}: {cuts} stories, {} wrong", wrong.len());
    (cuts, wrong)
}

#[test]
fn a_record_is_as_it_was_or_as_it_was_to_be_after_any_cut() {
    let found = thread::scope(|scope| {
        let models = Model::ALL.map(|model| scope.spawn(move || in_each_geometry(model)));
        models.map(|model| model.join().unwrap())
    });
    let (cuts, wrong): (Vec<u64>, Vec<Vec<String>>) = found.into_iter().unzip();
    let (cuts, wrong) = (cuts.iter().sum::<u64>(), wrong.concat());
    assert!(
        wrong.is_empty(),
        "{} of {cuts}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(8)].join("\n")
    );
    println!("{cuts} stories of single and double cuts of record writes, none wrong");
}

#[test]
fn what_does_not_fit_is_refused_and_what_was_there_stays() {
    let flash = Flash::<4, 512> {
        medium: Rc::new(RefCell::new(Medium::new(2 * 512, 4))),
        power: Rc::new(RefCell::new(Power::new(Model::Before, 1))),
    };
    let mut ledger = Ledger::open(flash.clone()).unwrap();
    ledger.store(1, &[&[1; 200]]).unwrap();
    assert!(ledger.store(2, &[&[2; 300]]).is_err());
    assert!(ledger.store(99, &[&[2; 3]]).is_err());
    ledger.store(2, &[&[2; 100]]).unwrap();
    let mut into = [0; 200];
    assert_eq!(
        ledger.load(1, &mut into[..100]),
        Err(lightship_mcu::ledger::Unstored)
    );
    let mut ledger = Ledger::open(flash).unwrap();
    assert_eq!(ledger.load(1, &mut into), Ok(Some(200)));
    assert_eq!(into, [1; 200]);
    assert_eq!(ledger.load(2, &mut into), Ok(Some(100)));
    assert_eq!(ledger.load(3, &mut into), Ok(None));
}

#[test]
fn flash_that_fails_now_and_then_is_written_around() {
    let power = Rc::new(RefCell::new(Power::new(Model::Before, 1)));
    power.borrow_mut().failing = Some(|op| op % 13 == 0);
    let flash = Flash::<4, 4096> {
        medium: Rc::new(RefCell::new(Medium::new(2 * 4096, 4))),
        power,
    };
    let mut ledger = Ledger::open(flash.clone()).unwrap();
    for number in 0..WRITES {
        ledger.store(number % KEYS, &[&[number; 24]]).unwrap();
    }
    let mut ledger = Ledger::open(flash).unwrap();
    for key in 0..KEYS {
        let mut into = [0; 24];
        assert_eq!(ledger.load(key, &mut into), Ok(Some(24)));
        assert_eq!(into, [WRITES - KEYS + key; 24]);
    }
}
