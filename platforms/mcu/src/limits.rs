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

/// Most bytes of a side of the agent's records, rounded up to an erase unit: it bounds what a boot has to read.
pub const LEDGER_SIDE: usize = 32 * 1024;

/// Numbers of the agent's records: those that there are, and room for those of later firmware, which a device that goes back to this one keeps.
pub const LEDGER_NUMBERS: usize = 16;

/// Erase units that one staging writes again because a word did not take.
pub const MAX_REWINDS: u8 = 8;

/// Failed starts of a trial before it is reverted: one may be chance, three are a pattern.
pub const TRIES: u8 = 3;

/// Power cuts during a trial before it is reverted: they say nothing about the image, but an image
/// that drains the battery must not be tried for ever.
pub const CUTS: u8 = 16;

/// Longest message that a microcontroller takes: an assignment and a release of two components, each with two signatures.
#[cfg(feature = "agent")]
pub const MESSAGE_BYTES: usize = 2048;

/// Steps of the core that wait: it asks for one a component and version at most, and for an inventory, so this is enough for two components. One that finds no room is asked for again.
#[cfg(feature = "agent")]
pub const STEPS: usize = 8;

/// Requests of the application that wait: locks and orders.
#[cfg(feature = "agent")]
pub const REQUESTS: usize = 4;

/// Time between two feedings of the watchdog, which should bite after several of them.
#[cfg(feature = "agent")]
pub const FEED_EVERY: embassy_time::Duration = embassy_time::Duration::from_millis(500);

/// Largest message in JSON, over HTTP: base64 makes documents a third longer.
#[cfg(feature = "http")]
pub const TEXT_BYTES: usize = 3072;

/// What is read at the start: a block of configuration, or all records of the core together. Later it is the room of one record and of what comes over MQTT.
#[cfg(feature = "agent")]
pub const START_BYTES: usize = crate::config::BLOCK_BYTES;

/// The largest record of the core as it is written: what is known of two releases of two components, and half as much again.
#[cfg(feature = "agent")]
pub const RECORD_BYTES: usize = 1792;

/// Connections inside the tunnel: one of MQTT, one that registers or carries logs, two of HTTP in MQTT's place.
#[cfg(feature = "agent")]
pub const CONNECTIONS: usize = if cfg!(feature = "http") { 4 } else { 2 };

/// What a connection may have sent and not acknowledged.
#[cfg(feature = "agent")]
pub const TCP_SEND: usize = 1024;

/// What a connection may have received and not read: a chunk of a blob, with its packet around it.
#[cfg(feature = "agent")]
pub const TCP_RECEIVE: usize = 1280;

/// The same of the one that registers or carries logs, each way: nobody waits for it, and the answers are short.
#[cfg(feature = "agent")]
pub const POST_TCP: usize = 512;

/// After so long without a sign of life a connection is gone.
#[cfg(feature = "agent")]
pub const TCP_TIMEOUT: embassy_time::Duration = embassy_time::Duration::from_secs(60);

/// Packets that came through the tunnel and wait for the stack; the others wait outside, encrypted.
#[cfg(feature = "agent")]
pub const TUNNEL_RECEIVE: usize = 1;

/// Packets that wait to be sent through the tunnel; the stack makes the next one when it is gone.
#[cfg(feature = "agent")]
pub const TUNNEL_SEND: usize = 1;

/// Datagrams without any proof that the hub is there, after which its name is looked up again.
#[cfg(feature = "agent")]
pub const RESOLVE_AFTER: u32 = 8;

/// Times that each name server is asked: it has a second to answer, then two, then four, while the tunnel waits.
#[cfg(feature = "agent")]
pub const NAME_ROUNDS: u32 = 3;

/// Frames of defmt that wait for the fleet: the last minutes of a quiet device, the last moments of a busy one.
#[cfg(feature = "agent")]
pub const FRAMES_BYTES: usize = 2048;

/// Lines of the agent's own that wait for the fleet: boots and faults of an image that never lives long enough to send them, three starts of it.
#[cfg(feature = "agent")]
pub const LINES_BYTES: usize = 1024;

/// Bytes of logs sent at once: what one packet of the tunnel takes, and [`POST_TCP`] with it.
#[cfg(feature = "agent")]
pub const LOG_BATCH: usize = 512;

/// What is logged within this time goes together.
#[cfg(feature = "agent")]
pub const LOG_PAUSE: embassy_time::Duration = embassy_time::Duration::from_secs(2);

/// Time before logs that were not taken are offered again for the first time, doubled each time.
#[cfg(feature = "agent")]
pub const LOG_RETRY_FIRST: embassy_time::Duration = embassy_time::Duration::from_secs(4);

/// Longest time before logs that were not taken are offered again.
#[cfg(feature = "agent")]
pub const LOG_RETRY: embassy_time::Duration = embassy_time::Duration::from_secs(60);

/// Longest text that is kept of a fault.
#[cfg(feature = "agent")]
pub const FAULT_BYTES: usize = 160;

/// Bytes read at once to see whether a partition is blank.
#[cfg(feature = "agent")]
pub const BLANK_PIECE: usize = 64;

/// Where the tunnel's time begins on a device that never stored any, in Unix seconds: any moment before the hub knew the device's key, which is made on the device.
#[cfg(feature = "agent")]
pub const FIRST_TUNNEL_TIME_S: u64 = 1_700_000_000;
