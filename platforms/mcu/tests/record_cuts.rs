//! The agent's records under power cuts: the log-structured map that they are kept in, on the model of flash of the slots' tests.
//!
//! Each record is after any single cut what it was or what it was to be, the others are untouched, and the map takes new ones.
//! That holds where a cut leaves nothing or the first part of a word, and a word may be programmed again to clear more of its bits.
//! It does not hold in the other two models, so they are not here: see the crate's page.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "the slots' tests use more of it")]
#[path = "power_cuts/flash.rs"]
mod flash;

use std::cell::RefCell;
use std::rc::Rc;

use embassy_futures::block_on;
use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use flash::{Flash, Medium, Model, Power};
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};

/// A flash whose operations block, as the agent's records see it.
struct Blocking<const W: usize, const E: usize>(Flash<W, E>);

impl<const W: usize, const E: usize> ErrorType for Blocking<W, E> {
    type Error = flash::Failure;
}

impl<const W: usize, const E: usize> ReadNorFlash for Blocking<W, E> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<const W: usize, const E: usize> NorFlash for Blocking<W, E> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.erase(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(offset, bytes)
    }
}

const PAGES: usize = 4;
const KEYS: u8 = 4;
const WRITES: u8 = 30;
/// The models in which the map holds.
const MODELS: [Model; 2] = [Model::Before, Model::TornPrefix];

type Map<const W: usize, const E: usize> =
    MapStorage<u8, Blocking<W, E>, Cache<Uncached, Uncached, Uncached, u8>>;

fn open<const W: usize, const E: usize>(flash: &Flash<W, E>) -> Map<W, E> {
    let config = MapConfig::try_new(0..(PAGES * E) as u32).unwrap();
    MapStorage::new(Blocking(flash.clone()), config, Cache::new_uncached())
}

/// The value of the n-th write: its length differs, too.
fn value(number: u8) -> Vec<u8> {
    vec![number; 20 + usize::from(number % 7) * 9]
}

/// Writes until the power goes; how many writes returned.
fn write<const W: usize, const E: usize>(map: &mut Map<W, E>) -> u8 {
    let mut buffer = [0; 256];
    for number in 0..WRITES {
        let (key, bytes) = (number % KEYS, value(number));
        let bytes = &bytes[..];
        let stored = map.store_item(&mut buffer, &key, &bytes);
        if block_on(stored).is_err() {
            return number;
        }
    }
    WRITES
}

/// What was written last before `end` under a key.
fn last(key: u8, end: u8) -> Option<Vec<u8>> {
    (0..end)
        .rev()
        .find(|number| number % KEYS == key)
        .map(value)
}

fn cut_everywhere<const W: usize, const E: usize>(model: Model) -> (u64, Vec<String>) {
    let (mut cuts, mut wrong) = (0, Vec::new());
    for cut_at in 1.. {
        let power = Rc::new(RefCell::new(Power::new(model, cut_at)));
        power.borrow_mut().cut_at = cut_at;
        power.borrow_mut().clears_more = true;
        let flash = Flash::<W, E> {
            medium: Rc::new(RefCell::new(Medium::new(PAGES * E, W))),
            power: power.clone(),
        };
        let written = write(&mut open(&flash));
        if written == WRITES {
            return (cuts, wrong);
        }
        cuts += 1;
        *power.borrow_mut() = Power::new(model, cut_at);
        power.borrow_mut().clears_more = true;
        let mut map = open(&flash);
        let mut buffer = [0; 256];
        for key in 0..KEYS {
            let found = block_on(map.fetch_item::<&[u8]>(&mut buffer, &key));
            let found = found.map(|found| found.map(<[u8]>::to_vec));
            let old = Ok(last(key, written));
            let new = Ok(last(key, written + 1));
            if found != old && found != new {
                wrong.push(format!(
                    "{model:?} W={W} E={E} cut {cut_at}: key {key} is {found:?}"
                ));
            }
        }
        if write(&mut map) != WRITES {
            wrong.push(format!(
                "{model:?} W={W} E={E} cut {cut_at}: it takes no more"
            ));
        }
    }
    unreachable!("some cut comes after the last write")
}

#[test]
fn a_record_is_as_it_was_or_as_it_was_to_be_after_any_cut() {
    let (mut cuts, mut wrong) = (0, Vec::new());
    for model in MODELS {
        for (count, found) in [
            cut_everywhere::<1, 256>(model),
            cut_everywhere::<4, 256>(model),
            cut_everywhere::<4, 1024>(model),
            cut_everywhere::<8, 512>(model),
            cut_everywhere::<16, 512>(model),
            cut_everywhere::<32, 1024>(model),
        ] {
            cuts += count;
            wrong.extend(found);
        }
        println!("{model:?}: {cuts} cuts so far, {} wrong", wrong.len());
    }
    assert!(
        wrong.is_empty(),
        "{} of {cuts}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(8)].join("\n")
    );
    println!("{cuts} single cuts of record writes, none wrong");
}
