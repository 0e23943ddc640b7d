//! Randomness on a board without a source of it: the chip has one, QEMU does not model it.
//!
//! So it comes from a secret of the factory that is ratcheted at each boot; see `lightship_mcu::seed`
//! for what that is worth. What this board adds is the time that the flash takes, which under QEMU is
//! the host's scheduling: some noise, of which nothing is promised.

use core::cell::RefCell;
use cortex_m::peripheral::SYST;
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_mcu::agent::NoEntropy;
use lightship_mcu::seed::{Error, Old, Seed};

use crate::layout;
use crate::spi_nor::SpiNor;

/// Reads of the flash that are timed.
const TIMINGS: usize = 32;

/// Takes this boot's secret. The clock has been started.
///
/// # Errors
///
/// If no secret was provisioned, or the next one cannot be stored.
pub fn open(flash: &RefCell<SpiNor>) -> Result<Seed, Error> {
    let mut partition = layout::seed(flash);
    let mut noise = [0; 4 * TIMINGS];
    for (number, place) in (0..).zip(noise.as_chunks_mut::<4>().0) {
        // What it reads does not matter, nor whether it can: how long it takes does.
        let _ = partition.read(64 * number, &mut [0; 16]);
        *place = SYST::get_current().to_le_bytes();
    }
    Seed::open(&mut partition, &noise, Old::Overwritten)
}

/// The board's network address: it was provisioned with the secret.
pub fn address(seed: &Seed) -> [u8; 6] {
    let [a, b, c, d, e, f, ..] = seed.identity();
    [a, b, c, d, e, f]
}

/// Where the agent's randomness comes from.
pub type Source = Seed;

pub(crate) fn fill(source: &mut Source, bytes: &mut [u8]) -> Result<(), NoEntropy> {
    source.fill(bytes);
    Ok(())
}
