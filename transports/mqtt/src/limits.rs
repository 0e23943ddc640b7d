//! Every bound of this transport, with its reason.

use lightship_core::limits::MESSAGE_BYTES;

/// Messages that a broker may send before the first is acknowledged: one is being handled, one is on its way, and two cover a blob and a burst.
pub const RECEIVE_MAXIMUM: u16 = 4;
/// Acknowledgements that wait to be written before no other message is handed over: twice what a broker may have sent.
pub const ACKNOWLEDGEMENTS: usize = 2 * RECEIVE_MAXIMUM as usize;
/// Events that wait for the agent before the connection is not read any more: eight times what a broker may send, because mosquitto 2.0 sends more than it may when messages are acknowledged while others arrive, and acknowledgements leave only while more is read.
pub const WAITING: usize = 8 * RECEIVE_MAXIMUM as usize;
/// Bytes around a message in its packet: fixed header, topic, properties.
pub const PACKET_OVERHEAD: usize = 256;
/// Longest packet that a broker may send.
pub const PACKET_BYTES: usize = MESSAGE_BYTES + PACKET_OVERHEAD;
/// Seconds for which a device may be gone before its last will says so.
pub const WILL_DELAY_S: u32 = 10;
/// Shortest keep-alive, in seconds: more often finds a dead connection no sooner than a message would.
pub const KEEP_ALIVE_SHORTEST_S: u16 = 30;
/// Longest keep-alive, in seconds: above it routers forget the connection (RFC 5382 asks them for two hours; many keep an hour or less).
pub const KEEP_ALIVE_LONGEST_S: u16 = 3600;
