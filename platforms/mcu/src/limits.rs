//! Every bound of this crate, with its reason.

/// Bytes between two records of how far the staging came: what a power cut makes a device fetch
/// again. A record is 64 bytes, so the records wear no faster than the slot.
pub const MARK_EVERY: u32 = 4096;

/// Bytes read, programmed or copied at once: the page of a serial NOR flash, and little RAM.
pub const CHUNK: usize = 256;

/// Records in one page, however large it is: it bounds what a boot has to read.
pub const RECORDS_PER_PAGE: usize = 256;

/// Places in a page that one record is tried at: a cut may have left a word that reads as erased
/// and takes no program, but one cut leaves one such place.
pub const RECORD_TRIES: usize = 4;

/// Erase units that one staging writes again because a word did not take.
pub const MAX_REWINDS: u8 = 8;

/// Failed starts of a trial before it is reverted: one may be chance, three are a pattern.
pub const TRIES: u8 = 3;

/// Power cuts during a trial before it is reverted: they say nothing about the image, but an image
/// that drains the battery must not be tried for ever.
pub const CUTS: u8 = 16;
