//! What the agent remembers, in flash: the core's records and a few of the platform's own, each whole or as it was before.

use embedded_storage::nor_flash::NorFlash;
use lightship_core::record::Record;

use crate::config::{BRIEF_BYTES, Config};
use crate::ledger::{Ledger, Unstored, UnusablePartition};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// One of the core's.
    Core(Record),
    /// Which images lie in the slots, and what the fleet calls them.
    Images,
    /// The end of the stretch of time that the tunnel's handshakes may use.
    TunnelTime,
    /// What is still needed of the configuration.
    Config,
}

impl Key {
    /// Numbers that are never used for anything else.
    const fn number(self) -> u8 {
        match self {
            Self::Core(Record::Clock) => 0,
            Self::Core(Record::Identity) => 1,
            Self::Core(Record::Trust) => 2,
            Self::Core(Record::State) => 3,
            Self::Images => 4,
            Self::TunnelTime => 5,
            Self::Config => 6,
        }
    }
}

/// The records of one device.
pub(super) struct Records<F>(Ledger<F>);

impl<F: NorFlash> Records<F> {
    /// The records in a partition of at least two erase units, used by nothing else.
    pub(super) fn open(flash: F) -> Result<Self, UnusablePartition> {
        Ledger::open(flash).map(Self)
    }

    /// Copies a record to the start of `into` and returns how long it is; `None` if it was never stored.
    pub(super) fn load(&mut self, key: Key, into: &mut [u8]) -> Result<Option<usize>, Unstored> {
        self.0.load(key.number(), into)
    }

    /// Stores a record; it is there after a power cut at any later time.
    pub(super) fn store(&mut self, key: Key, bytes: &[u8]) -> Result<(), Unstored> {
        self.0.store(key.number(), &[bytes])
    }

    /// Stores what is still needed of a configuration.
    pub(super) fn keep(&mut self, config: &Config<'_>) -> Result<(), Unstored> {
        let mut brief = [0; BRIEF_BYTES];
        let parts = [config.brief(&mut brief), config.root.0];
        self.0.store(Key::Config.number(), &parts)
    }
}
