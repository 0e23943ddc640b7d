//! The boot of a device with two executable slots.

use crate::boot::{Boot, Reset, decide};
use crate::{Device, RecordLog, Slot};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use lightship_image::check::Ed25519;

/// Judges the images, stores what changes, and says what to start.
///
/// `fed` is called often enough for a watchdog.
pub fn boot<R: NorFlash, F: ReadNorFlash>(
    log: &mut RecordLog<R>,
    slots: &mut [F; 2],
    device: &Device<'_>,
    ed25519: &impl Ed25519,
    reset: Reset,
    fed: &mut dyn FnMut(),
) -> Boot {
    let floor = log.state().floor;
    let decision = decide(log.state(), reset, &mut |slot| {
        let [a, b] = &mut *slots;
        let flash = match slot {
            Slot::A => a,
            Slot::B => b,
        };
        device.inspect(flash, slot, floor, ed25519, fed)
    });
    match decision.store.map(|state| log.append(&state)) {
        None | Some(Ok(())) => decision.boot,
        Some(Err(_)) => decision.otherwise,
    }
}
