//! Every bound of this transport, with its reason.

use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::chunk::ANSWER_BYTES;
use lightship_link::limits::UP_BYTES;

/// Lowest and highest version of the protocol that is spoken here.
pub const VERSIONS: (u8, u8) = (1, 1);
/// Head and checksum of a frame.
pub const FRAME_OVERHEAD: usize = 3 + 4;
/// Longest payload from a shore: a message, which is longer than a piece of a blob.
pub const DOWN_BYTES: usize = MESSAGE_BYTES;
/// Longest payload from a device: a message or a question.
pub const DEVICE_BYTES: usize = UP_BYTES;
/// Events that wait for the agent: up, an outcome, a rejection, and one to spare.
pub const NEWS: usize = 4;
/// Bytes read from a port at once.
pub const READ_BYTES: usize = 64;
/// Times that something is repeated without hearing anything before the line counts as down.
pub const TRIES: u32 = 5;

const _: () = assert!(ANSWER_BYTES <= DOWN_BYTES);
