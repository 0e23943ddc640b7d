//! Every bound of the contract, with its reason.

/// Longest message from a device, in bytes of postcard: a whole report with four components, with room to grow.
pub const UP_BYTES: usize = 1024;
/// Most bytes of a blob in one answer over MQTT or serial: a round trip fetches a flash page, and a microcontroller can hold it.
pub const CHUNK_BYTES: usize = 1024;
/// Bytes around a chunk in its encoded answer: identifier, verdict and length.
pub const CHUNK_OVERHEAD: usize = 16;
/// Seconds for which a broker keeps what it could not deliver: a reboot or a bad night on the radio, not an archive.
pub const SESSION_EXPIRY_S: u32 = 3600;
/// Longest `Retry-After` that is believed, in seconds: a server cannot silence a device for more than a day.
pub const RETRY_AFTER_S: u32 = lightship_core::limits::RETRY_AFTER_S;
