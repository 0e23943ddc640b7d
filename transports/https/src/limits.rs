//! Every bound of this transport, with its reason.

/// Longest body of an error that is read, in bytes: the member `refused` and a sentence for people.
pub const PROBLEM_BYTES: usize = 1024;
/// Longest entity tag, in bytes: `"command-<20 digits>"`.
pub const TAG_BYTES: usize = 32;
/// Longest body of one request to keep logs, in bytes.
pub const LOG_BYTES: usize = 64 * 1024;
/// Longest head of an answer that a microcontroller reads, in bytes: ours take about 250, and a proxy may add some.
pub const HEAD_BYTES: usize = 1024;
/// Longest body of a request of a microcontroller, in bytes: a report in JSON, or a batch of its logs.
pub const BODY_BYTES: usize = 2 * lightship_link::limits::UP_BYTES;
/// Longest answer to a message, in bytes of postcard: a registration with its tunnel, whose endpoint has at most 64 characters.
pub const REPLY_BYTES: usize = 256;
/// Longest head of a request of a microcontroller, in bytes: the longest headers of this protocol, and a site.
pub const REQUEST_HEAD_BYTES: usize = 640;
/// Longest head of a request that is one of `post`, in bytes: it is fixed, but for the host.
pub const POST_HEAD_BYTES: usize = 320;
/// Longest host and base path together, in bytes.
pub const SITE_BYTES: usize = 160;
