//! Devices of different geometry: which partitions lie in which bank.

use crate::flash::{Flash, Medium, Power};
use crate::images::{DEVICE_TYPE, Memo, keys};
use embedded_storage::nor_flash::NorFlash;
use lightship_image::check::{Place, Span};
use lightship_mcu::boot::swap::Pair;
use lightship_mcu::boot::{self, Boot, Reset};
use lightship_mcu::flash::{Joined, Shared, Window};
use lightship_mcu::slots::{Ab, Slots, Updater};
use lightship_mcu::{Device, Handoff, RecordLog, Slot};
use std::cell::RefCell;
use std::rc::Rc;

/// RAM that images run from: the same for all slots, as on the virtual boards.
pub(crate) const RAM: Span = Span {
    start: 0x8000_0000,
    len: 0x1_0000,
};

/// The banks of a device and their supply.
pub(crate) struct Banks {
    pub(crate) mediums: Vec<Rc<RefCell<Medium>>>,
    pub(crate) power: Rc<RefCell<Power>>,
}

/// How a device is built.
pub(crate) trait Wiring {
    const NAME: &'static str;
    /// Bytes of the old and of the new image's body.
    const BODIES: (usize, usize);

    /// The banks, with the old image where the factory put it.
    fn mediums(old: &[u8]) -> Vec<Medium>;
    fn boot(banks: &Banks, reset: Reset) -> Boot;
    fn slots(banks: &Banks, handoff: Handoff, app: &mut dyn FnMut(&mut dyn Slots));
    /// The bytes that run when `slot` does.
    fn running(banks: &Banks, slot: Slot) -> Vec<u8>;
}

impl Banks {
    fn bank<const W: usize, const E: usize>(&self, bank: usize) -> Flash<W, E> {
        Flash {
            medium: self.mediums[bank].clone(),
            power: self.power.clone(),
        }
    }
}

pub(crate) fn device(keys: &[[u8; 32]]) -> Device<'_> {
    Device {
        keys,
        board: "model",
        device_type: DEVICE_TYPE,
        places: [Place::Within(RAM); 2],
        stack: RAM,
    }
}

/// A partition of a bank.
type Part<'a, const W: usize, const E: usize> = Window<Shared<'a, Flash<W, E>>>;

fn boot_ab<F: NorFlash>(records: F, slots: [F; 2], reset: Reset) -> Boot {
    let (keys, mut slots) = (keys(), slots);
    let mut log = RecordLog::open(records);
    boot::ab::boot(
        &mut log,
        &mut slots,
        &device(&keys),
        &Memo,
        reset,
        &mut || (),
    )
}

fn boot_swap<R: NorFlash, E: NorFlash, S: NorFlash>(
    records: R,
    mut pair: Pair<E, S>,
    reset: Reset,
) -> Boot {
    let keys = keys();
    let mut log = RecordLog::open(records);
    boot::swap::boot(
        &mut log,
        &mut pair,
        &device(&keys),
        &Memo,
        reset,
        &mut || (),
    )
}

/// Two executable slots and the records in one bank.
pub(crate) struct AbOne<const W: usize, const E: usize, const SLOT: usize>;

impl<const W: usize, const E: usize, const SLOT: usize> AbOne<W, E, SLOT> {
    fn parts<'a>(bank: &'a RefCell<Flash<W, E>>) -> [Part<'a, W, E>; 3] {
        let (unit, slot) = (E as u32, SLOT as u32);
        let part = |start, len| Window::new(Shared(bank), start, len);
        [
            part(0, 2 * unit),
            part(2 * unit, slot),
            part(2 * unit + slot, slot),
        ]
    }
}

impl<const W: usize, const E: usize, const SLOT: usize> Wiring for AbOne<W, E, SLOT> {
    const NAME: &'static str = "A/B, one bank";
    const BODIES: (usize, usize) = (SLOT / 3, SLOT - 256 - W);

    fn mediums(old: &[u8]) -> Vec<Medium> {
        let mut medium = Medium::new(2 * E + 2 * SLOT, W);
        medium.install(2 * E, old);
        vec![medium]
    }

    fn boot(banks: &Banks, reset: Reset) -> Boot {
        let bank = RefCell::new(banks.bank(0));
        let [records, a, b] = Self::parts(&bank);
        boot_ab(records, [a, b], reset)
    }

    fn slots(banks: &Banks, handoff: Handoff, app: &mut dyn FnMut(&mut dyn Slots)) {
        let (bank, keys) = (RefCell::new(banks.bank(0)), keys());
        let [records, a, b] = Self::parts(&bank);
        app(&mut Updater::new(
            records,
            Ab([a, b]),
            device(&keys),
            Memo,
            handoff,
        ));
    }

    fn running(banks: &Banks, slot: Slot) -> Vec<u8> {
        let start = 2 * E + SLOT * slot as usize;
        banks.mediums[0].borrow().bytes()[start..start + SLOT].to_vec()
    }
}

/// Two executable slots, one in each bank; the records in the first.
pub(crate) struct AbTwo<
    const W: usize,
    const E: usize,
    const V: usize,
    const D: usize,
    const SLOT: usize,
>;

type Both<const W: usize, const E: usize, const V: usize, const D: usize> =
    Joined<Flash<W, E>, Flash<V, D>>;

impl<const W: usize, const E: usize, const V: usize, const D: usize, const SLOT: usize>
    AbTwo<W, E, V, D, SLOT>
{
    const UNIT: usize = if E > D { E } else { D };

    fn both(banks: &Banks) -> RefCell<Both<W, E, V, D>> {
        RefCell::new(Joined::new(banks.bank(0), banks.bank(1)))
    }

    fn parts(both: &RefCell<Both<W, E, V, D>>) -> [Window<Shared<'_, Both<W, E, V, D>>>; 3] {
        let (records, slot) = (2 * Self::UNIT as u32, SLOT as u32);
        let part = |start, len| Window::new(Shared(both), start, len);
        [
            part(0, records),
            part(records, slot),
            part(records + slot, slot),
        ]
    }
}

impl<const W: usize, const E: usize, const V: usize, const D: usize, const SLOT: usize> Wiring
    for AbTwo<W, E, V, D, SLOT>
{
    const NAME: &'static str = "A/B, two banks";
    const BODIES: (usize, usize) = (SLOT / 3, SLOT - 300);

    fn mediums(old: &[u8]) -> Vec<Medium> {
        let mut first = Medium::new(2 * Self::UNIT + SLOT, W);
        first.install(2 * Self::UNIT, old);
        vec![first, Medium::new(SLOT, V)]
    }

    fn boot(banks: &Banks, reset: Reset) -> Boot {
        let both = Self::both(banks);
        let [records, a, b] = Self::parts(&both);
        boot_ab(records, [a, b], reset)
    }

    fn slots(banks: &Banks, handoff: Handoff, app: &mut dyn FnMut(&mut dyn Slots)) {
        let (both, keys) = (Self::both(banks), keys());
        let [records, a, b] = Self::parts(&both);
        app(&mut Updater::new(
            records,
            Ab([a, b]),
            device(&keys),
            Memo,
            handoff,
        ));
    }

    fn running(banks: &Banks, slot: Slot) -> Vec<u8> {
        match slot {
            Slot::A => banks.mediums[0].borrow().bytes()[2 * Self::UNIT..].to_vec(),
            Slot::B => banks.mediums[1].borrow().bytes().to_vec(),
        }
    }
}

/// One executable slot; both slots and the records in one bank.
pub(crate) struct SwapOne<const W: usize, const E: usize, const SLOT: usize>;

impl<const W: usize, const E: usize, const SLOT: usize> SwapOne<W, E, SLOT> {
    fn parts<'a>(bank: &'a RefCell<Flash<W, E>>) -> [Part<'a, W, E>; 3] {
        let (unit, slot) = (E as u32, SLOT as u32);
        let part = |start, len| Window::new(Shared(bank), start, len);
        [
            part(0, 2 * unit),
            part(2 * unit, slot),
            part(2 * unit + slot, slot + unit),
        ]
    }
}

impl<const W: usize, const E: usize, const SLOT: usize> Wiring for SwapOne<W, E, SLOT> {
    const NAME: &'static str = "swap, one bank";
    const BODIES: (usize, usize) = (SLOT / 2, SLOT - 256 - W);

    fn mediums(old: &[u8]) -> Vec<Medium> {
        let mut medium = Medium::new(3 * E + 2 * SLOT, W);
        medium.install(2 * E, old);
        vec![medium]
    }

    fn boot(banks: &Banks, reset: Reset) -> Boot {
        let bank = RefCell::new(banks.bank(0));
        let [records, first, second] = Self::parts(&bank);
        boot_swap(records, Pair { first, second }, reset)
    }

    fn slots(banks: &Banks, handoff: Handoff, app: &mut dyn FnMut(&mut dyn Slots)) {
        let (bank, keys) = (RefCell::new(banks.bank(0)), keys());
        let [records, first, second] = Self::parts(&bank);
        app(&mut Updater::new(
            records,
            Pair { first, second },
            device(&keys),
            Memo,
            handoff,
        ));
    }

    fn running(banks: &Banks, _slot: Slot) -> Vec<u8> {
        banks.mediums[0].borrow().bytes()[2 * E..2 * E + SLOT].to_vec()
    }
}

/// One executable slot beside the records, the other slot in a second bank.
pub(crate) struct SwapTwo<
    const W: usize,
    const E: usize,
    const V: usize,
    const D: usize,
    const SLOT: usize,
>;

impl<const W: usize, const E: usize, const V: usize, const D: usize, const SLOT: usize>
    SwapTwo<W, E, V, D, SLOT>
{
    const UNIT: usize = if E > D { E } else { D };

    fn parts<'a>(
        bank: &'a RefCell<Flash<W, E>>,
        second: Flash<V, D>,
    ) -> (Part<'a, W, E>, Pair<Part<'a, W, E>, Flash<V, D>>) {
        let part = |start, len| Window::new(Shared(bank), start, len);
        let first = part(2 * E as u32, SLOT as u32);
        (part(0, 2 * E as u32), Pair { first, second })
    }
}

impl<const W: usize, const E: usize, const V: usize, const D: usize, const SLOT: usize> Wiring
    for SwapTwo<W, E, V, D, SLOT>
{
    const NAME: &'static str = "swap, two banks";
    // The old image is the larger one here.
    const BODIES: (usize, usize) = (SLOT - 256, SLOT / 2 + 3);

    fn mediums(old: &[u8]) -> Vec<Medium> {
        let mut first = Medium::new(2 * E + SLOT, W);
        first.install(2 * E, old);
        vec![first, Medium::new(SLOT + Self::UNIT, V)]
    }

    fn boot(banks: &Banks, reset: Reset) -> Boot {
        let bank = RefCell::new(banks.bank(0));
        let (records, pair) = Self::parts(&bank, banks.bank(1));
        boot_swap(records, pair, reset)
    }

    fn slots(banks: &Banks, handoff: Handoff, app: &mut dyn FnMut(&mut dyn Slots)) {
        let (bank, keys) = (RefCell::new(banks.bank(0)), keys());
        let (records, pair) = Self::parts(&bank, banks.bank(1));
        app(&mut Updater::new(
            records,
            pair,
            device(&keys),
            Memo,
            handoff,
        ));
    }

    fn running(banks: &Banks, _slot: Slot) -> Vec<u8> {
        banks.mediums[0].borrow().bytes()[2 * E..].to_vec()
    }
}
