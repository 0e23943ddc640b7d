//! The secret of a board without a source of randomness, through power cuts and failing flash.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "power_cuts/flash.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod flash;

use flash::{Flash, Medium, Model, Power};
use lightship_mcu::seed::{Error, Old, Seed, provision};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

const UNIT: usize = 512;
/// More boots than the two units have places, so that each is erased more than once.
const BOOTS: usize = 20;

type Chip<const W: usize> = Flash<W, UNIT>;

fn chip<const W: usize>(model: Model, seed: u64) -> Chip<W> {
    let mut medium = Medium::new(2 * UNIT, W);
    medium.install(0, &provision([7; 32], *b"identity"));
    Flash {
        medium: Rc::new(RefCell::new(medium)),
        power: Rc::new(RefCell::new(Power::new(model, seed))),
    }
}

fn boot<const W: usize>(chip: &mut Chip<W>) -> Result<[u8; 32], Error> {
    let mut seed = Seed::open(chip, b"the same noise each time", Old::Kept)?;
    assert_eq!(seed.identity(), *b"identity");
    let mut out = [0; 32];
    seed.fill(&mut out);
    Ok(out)
}

fn survives_cuts<const W: usize>() -> u64 {
    let mut tries = chip::<W>(Model::Before, 1);
    for _ in 0..BOOTS {
        boot(&mut tries).unwrap();
    }
    let ops = tries.power.borrow().ops;
    for model in Model::ALL {
        for cut in 1..=ops {
            let mut chip = chip::<W>(model, cut);
            chip.power.borrow_mut().cut_at = cut;
            let mut seen = BTreeSet::new();
            for _ in 0..BOOTS {
                match boot(&mut chip) {
                    Ok(out) => assert!(seen.insert(out), "{model:?}, cut {cut}: it came twice"),
                    Err(error) => {
                        assert!(chip.power.borrow().dead, "{model:?}, cut {cut}: {error:?}");
                        let mut power = chip.power.borrow_mut();
                        (power.dead, power.cut_at) = (false, u64::MAX);
                    }
                }
            }
            assert!(seen.len() >= BOOTS - 1);
        }
    }
    ops * 4
}

#[test]
fn no_cut_makes_the_same_bytes_come_twice_or_none_at_all() {
    let cuts = survives_cuts::<1>() + survives_cuts::<8>() + survives_cuts::<32>();
    println!("power cuts while the secret is replaced: {cuts}, repeated or lost: 0");
    assert!(cuts > 5_000, "the story has become too short");
}

#[test]
fn nothing_comes_out_when_the_next_secret_cannot_be_stored() {
    let mut chip = chip::<4>(Model::Before, 1);
    chip.power.borrow_mut().failing = Some(|_| true);
    assert_eq!(boot(&mut chip), Err(Error::FlashFailed));
    chip.power.borrow_mut().failing = None;
    assert!(boot(&mut chip).is_ok());
}

#[test]
fn a_device_without_a_secret_says_so() {
    let mut blank = chip::<4>(Model::Before, 1);
    blank.medium.borrow_mut().install(0, &[0; 64]);
    assert_eq!(boot(&mut blank), Err(Error::NotProvisioned));
}

#[test]
fn noise_and_secret_both_tell_devices_apart() {
    let out = |secret, noise: &[u8]| {
        let mut chip = chip::<4>(Model::Before, 1);
        let mut medium = Medium::new(2 * UNIT, 4);
        medium.install(0, &provision([secret; 32], [0; 8]));
        *chip.medium.borrow_mut() = medium;
        let mut out = [0; 80];
        Seed::open(&mut chip, noise, Old::Kept)
            .unwrap()
            .fill(&mut out);
        out
    };
    let outs = [out(1, b"a"), out(1, b"b"), out(2, b"a")];
    assert_ne!(outs[0], outs[1]);
    assert_ne!(outs[0], outs[2]);
    assert_ne!(outs[0][..32], outs[0][32..64]);
}
