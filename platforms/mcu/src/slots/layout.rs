//! Where images lie: the difference between two executable slots and one.

use crate::Slot;
use crate::boot::swap::Pair;
use crate::flash::Window;
use embedded_storage::nor_flash::NorFlash;

/// A layout of slots.
pub trait Layout {
    /// The flash that images run from.
    type Running: NorFlash;
    /// The flash that images are staged in.
    type Staging: NorFlash;

    /// The partition that runs.
    fn running(&mut self, running: Slot) -> &mut Self::Running;

    /// The partition that a new image is staged in.
    fn staging(&mut self, running: Slot) -> Window<&mut Self::Staging>;

    /// The slot that the staged image will run from.
    fn next(&self, running: Slot) -> Slot;

    /// The slot of the confirmed image, once the one that runs in `running` is confirmed.
    fn confirmed(&self, running: Slot) -> Slot;
}

/// Two executable slots.
#[derive(Clone, Debug)]
pub struct Ab<F>(pub [F; 2]);

impl<F> Ab<F> {
    fn slot(&mut self, slot: Slot) -> &mut F {
        let [a, b] = &mut self.0;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }
}

impl<F: NorFlash> Layout for Ab<F> {
    type Running = F;
    type Staging = F;

    fn running(&mut self, running: Slot) -> &mut F {
        self.slot(running)
    }

    fn staging(&mut self, running: Slot) -> Window<&mut F> {
        let slot = self.slot(running.other());
        let len = slot.capacity() as u32;
        Window::new(slot, 0, len)
    }

    fn next(&self, running: Slot) -> Slot {
        running.other()
    }

    fn confirmed(&self, running: Slot) -> Slot {
        running
    }
}

impl<E: NorFlash, S: NorFlash> Layout for Pair<E, S> {
    type Running = E;
    type Staging = S;

    fn running(&mut self, _running: Slot) -> &mut E {
        &mut self.first
    }

    fn staging(&mut self, _running: Slot) -> Window<&mut S> {
        Pair::staging(self)
    }

    fn next(&self, _running: Slot) -> Slot {
        Slot::A
    }

    fn confirmed(&self, _running: Slot) -> Slot {
        Slot::A
    }
}
