//! Randomness for a board that has no source of it: a secret from the factory, ratcheted at each boot.
//!
//! The secret is written into the device's flash when it is made, from a good source.
//! At each boot it is replaced by what a hash makes of it and of what the board can add (timing, a
//! noisy pin), before anything is made of it; what comes out is made by hashing, too.
//!
//! It is as good as the secret: who reads the flash learns what comes out from then on.
//! What came out before stays unknown where the flash lets the old secret be overwritten with
//! zeroes, as most NOR flash does; elsewhere until its erase unit is erased.
//! A device that is not provisioned has no randomness and says so.
//!
//! What must stay true: nothing comes out before the secret of the next boot is in flash, so that no
//! two boots ever share it; a cut leaves the old secret or the next one.

use embedded_storage::nor_flash::NorFlash;
use lightship_core::hash::sha256;

/// Bytes of a secret.
pub const SECRET_LEN: usize = 32;
/// Bytes of a record: magic, check, counter, identity, secret.
const RECORD: usize = 64;
const MAGIC: [u8; 4] = *b"LSSD";
/// Places that a record is tried at, as with the records of the slots.
const TRIES: usize = 4;

type Bytes = [u8; RECORD];

/// Why there is no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No secret was written into this device.
    NotProvisioned,
    /// The next secret cannot be stored.
    FlashFailed,
}

/// What becomes of a secret that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// It is overwritten with zeroes: for flash whose programmed words can be programmed again.
    Overwritten,
    /// It stays until its unit is erased.
    Kept,
}

/// A device's source of randomness.
pub struct Seed {
    key: [u8; SECRET_LEN],
    identity: [u8; 8],
}

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Seed").finish_non_exhaustive()
    }
}

/// The first record of a device, for the start of its partition.
///
/// `identity` stays with the device: its network address, for example.
pub fn provision(secret: [u8; SECRET_LEN], identity: [u8; 8]) -> [u8; RECORD] {
    encode(0, &identity, &secret)
}

impl Seed {
    /// Takes the secret of this boot, and leaves one for the next. The partition has two erase units.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn open<F: NorFlash>(flash: &mut F, noise: &[u8], old: Old) -> Result<Self, Error> {
        let (at, counter, identity, secret) = newest(flash).ok_or(Error::NotProvisioned)?;
        let derive = |label: &[u8]| sha256(&[label, &secret, noise]);
        let next = encode(counter + 1, &identity, &derive(b"lightship seed: next"));
        store(flash, at, &next)?;
        if old == Old::Overwritten {
            flash
                .write(at, &[0; RECORD])
                .map_err(|_| Error::FlashFailed)?;
        }
        let key = derive(b"lightship seed: now");
        Ok(Self { key, identity })
    }

    /// What stays with the device.
    pub fn identity(&self) -> [u8; 8] {
        self.identity
    }

    /// Fills `bytes`; what came before cannot be told from what is kept.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(SECRET_LEN) {
            let out = sha256(&[b"out", &self.key]);
            chunk.copy_from_slice(&out[..chunk.len()]);
            self.key = sha256(&[b"on", &self.key]);
        }
    }
}

fn encode(counter: u64, identity: &[u8; 8], secret: &[u8; SECRET_LEN]) -> Bytes {
    let mut bytes = [0; RECORD];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&counter.to_le_bytes());
    bytes[16..24].copy_from_slice(identity);
    bytes[24..24 + SECRET_LEN].copy_from_slice(secret);
    let check = check(&bytes);
    bytes[4..8].copy_from_slice(&check);
    bytes
}

fn decode(bytes: &Bytes) -> Option<(u64, [u8; 8], [u8; SECRET_LEN])> {
    if bytes[..4] != MAGIC || bytes[4..8] != check(bytes) {
        return None;
    }
    Some((
        u64::from_le_bytes(*bytes[8..].first_chunk()?),
        *bytes[16..].first_chunk()?,
        *bytes[24..].first_chunk()?,
    ))
}

fn check(bytes: &Bytes) -> [u8; 4] {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    crc.checksum(&bytes[8..]).to_le_bytes()
}

/// The place and contents of the record with the highest counter.
fn newest<F: NorFlash>(flash: &mut F) -> Option<(u32, u64, [u8; 8], [u8; SECRET_LEN])> {
    let mut found: Option<(u32, u64, [u8; 8], [u8; SECRET_LEN])> = None;
    for at in (0..2 * F::ERASE_SIZE as u32).step_by(RECORD) {
        let mut bytes = [0; RECORD];
        // A place that cannot be read holds nothing.
        if flash.read(at, &mut bytes).is_err() {
            continue;
        }
        let Some((counter, identity, secret)) = decode(&bytes) else {
            continue;
        };
        if found.is_none_or(|(_, highest, ..)| counter > highest) {
            found = Some((at, counter, identity, secret));
        }
    }
    found
}

/// Writes the record after the newest one; a unit is erased when its first place is written.
fn store<F: NorFlash>(flash: &mut F, newest: u32, record: &Bytes) -> Result<(), Error> {
    const { assert!(RECORD.is_multiple_of(F::WRITE_SIZE) && F::ERASE_SIZE.is_multiple_of(RECORD)) };
    let unit = F::ERASE_SIZE as u32;
    let mut at = newest;
    for _ in 0..TRIES {
        at = (at + RECORD as u32) % (2 * unit);
        // The newest record is in the other unit then, or this is the unit it is in.
        if at.is_multiple_of(unit) && flash.erase(at, at + unit).is_err() {
            continue;
        }
        if is_written(flash, at, record) {
            return Ok(());
        }
    }
    // The rest of the unit may be spoilt: the other one holds nothing that is needed.
    let other = unit - newest / unit * unit;
    let erased = flash.erase(other, other + unit).is_ok();
    if erased && is_written(flash, other, record) {
        return Ok(());
    }
    Err(Error::FlashFailed)
}

/// Whether the place was erased and now holds the record.
fn is_written<F: NorFlash>(flash: &mut F, at: u32, record: &Bytes) -> bool {
    let mut held = [0; RECORD];
    let erased = flash.read(at, &mut held).is_ok() && held.iter().all(|byte| *byte == 0xFF);
    erased
        && flash.write(at, record).is_ok()
        && flash.read(at, &mut held).is_ok()
        && held == *record
}
