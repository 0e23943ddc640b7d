//! What the agent remembers, in flash: the core's records and a few of the platform's own, each whole or as it was before.
//!
//! The log-structured map of sequential-storage is atomic per key, so what changes together is one value.
//! Its operations are futures that never wait here, because the flash blocks: they are polled to their end at once and take no room in the agent's own future.

use embassy_futures::block_on;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use embedded_storage_async::nor_flash as asynch;
use lightship_core::record::Record;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage, SerializationError, Value};

use crate::config::Config;
use crate::limits::RECORD_BYTES;

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
            Self::Images => 16,
            Self::TunnelTime => 17,
            Self::Config => 18,
        }
    }
}

/// A record was not read or not stored: the flash fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unstored;

/// The partition cannot hold records: fewer than two erase units, or one of an odd size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnusablePartition;

/// The records of one device.
pub(super) struct Records<F: NorFlash> {
    map: MapStorage<u8, Blocking<F>, Cache<Uncached, Uncached, Uncached, u8>>,
    buffer: [u8; RECORD_BYTES],
}

impl<F: NorFlash> Records<F> {
    /// The records in a partition of at least two erase units, used by nothing else.
    pub(super) fn open(flash: F) -> Result<Self, UnusablePartition> {
        let len = u32::try_from(flash.capacity()).map_err(|_| UnusablePartition)?;
        let config = MapConfig::try_new(0..len).map_err(|_| UnusablePartition)?;
        Ok(Self {
            map: MapStorage::new(Blocking(flash), config, Cache::new_uncached()),
            buffer: [0; RECORD_BYTES],
        })
    }

    /// Copies a record to the start of `into` and returns how long it is; `None` if it was never stored.
    pub(super) fn load(&mut self, key: Key, into: &mut [u8]) -> Result<Option<usize>, Unstored> {
        let key = key.number();
        let found = self.map.fetch_item::<&[u8]>(&mut self.buffer, &key);
        match block_on(found) {
            Ok(Some(bytes)) => {
                let room = into.get_mut(..bytes.len()).ok_or(Unstored)?;
                room.copy_from_slice(bytes);
                Ok(Some(bytes.len()))
            }
            Ok(None) => Ok(None),
            Err(_) => Err(Unstored),
        }
    }

    /// Stores a record; it is there after a power cut at any later time.
    pub(super) fn store(&mut self, key: Key, bytes: &[u8]) -> Result<(), Unstored> {
        let key = key.number();
        let stored = self.map.store_item(&mut self.buffer, &key, &bytes);
        block_on(stored).map_err(|_| Unstored)
    }

    /// Stores a configuration, which needs no second buffer.
    pub(super) fn keep(&mut self, config: &Config<'_>) -> Result<(), Unstored> {
        let (key, kept) = (Key::Config.number(), Kept(config.clone()));
        let stored = self.map.store_item(&mut self.buffer, &key, &kept);
        block_on(stored).map_err(|_| Unstored)
    }
}

/// A configuration as the map takes it.
struct Kept<'a>(Config<'a>);

impl<'a> Value<'a> for Kept<'a> {
    fn serialize_into(&self, buffer: &mut [u8]) -> Result<usize, SerializationError> {
        let written = self.0.encode(buffer);
        written.map_err(|_| SerializationError::BufferTooSmall)
    }

    fn deserialize_from(bytes: &'a [u8]) -> Result<(Self, usize), SerializationError> {
        match Config::decode(bytes) {
            Ok(config) => Ok((Self(config), bytes.len())),
            Err(_) => Err(SerializationError::InvalidFormat),
        }
    }
}

/// A flash whose operations block, for those who would wait for them.
struct Blocking<F>(F);

impl<F: asynch::ErrorType> asynch::ErrorType for Blocking<F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> asynch::ReadNorFlash for Blocking<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<F: NorFlash> asynch::NorFlash for Blocking<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.erase(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(offset, bytes)
    }
}
