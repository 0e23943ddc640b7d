//! Every bound of this transport, with its reason.

/// Longest body of an error that is read, in bytes: the member `refused` and a sentence for people.
pub const PROBLEM_BYTES: usize = 1024;
/// Deepest nesting of JSON that is decoded; a message needs five levels.
pub const JSON_DEPTH: usize = 8;
/// Longest entity tag, in bytes: `"command-<20 digits>"`.
pub const TAG_BYTES: usize = 32;
/// Longest body of one request to keep logs, in bytes.
pub const LOG_BYTES: usize = 64 * 1024;
