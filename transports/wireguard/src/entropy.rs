//! Randomness from the operating system.

use wireguard_sans_io::{EntropyError, EntropySource};

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Os;

impl EntropySource for Os {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

/// Fills `bytes` for a key.
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has a random source");
}
