//! Every bound of this crate, with its reason.

/// Bytes of an inner packet: Ethernet's 1,500 less IPv6, UDP and WireGuard headers, as `wg-quick` sets it.
pub const MTU: u16 = 1420;

/// The same for a microcontroller: every packet and datagram that it holds is as long. Two of them carry a piece of a blob, and IPv4 asks for 576 at least.
pub const BOARD_MTU: u16 = 640;

/// Bytes of the largest datagram that is read: an inner packet padded to 16, with its header and tag, and room to see that a longer one is malformed.
pub const DATAGRAM: usize = 2048;

/// Inner packets that wait while a handshake is under way; TCP sends again what does not fit.
pub const WAITING_PACKETS: usize = 16;

/// Inner packets that one stack may emit before they are sent, so that one busy device does not starve the others.
pub const BURST_PACKETS: usize = 64;

/// TCP connections of one device at once, in either direction.
pub const STREAMS_PER_DEVICE: usize = 64;

/// Connections that wait to be accepted on one port; more are reset.
pub const BACKLOG: usize = 1024;

/// Datagrams read before the timers get their turn.
pub const DATAGRAMS_PER_TURN: usize = 64;

/// Key pairs of one hub: its own, the next one while it rotates, and one for each live provisioning key.
pub const HUB_KEYS: usize = 1024;

/// Notes kept for a slow listener; older ones are dropped and the listener is told how many.
pub const NOTES: usize = 1024;

/// Bytes asked of the kernel for received datagrams that wait; the default of 208 KiB loses a burst of 128 KiB windows.
pub const SOCKET_BUFFER: usize = 4 << 20;

/// Seconds of the longest silence that a device may ask the hub to break; no NAT worth learning about needs more.
pub const LONGEST_PROBE_S: u16 = 600;

/// TCP port of the hub, inside every tunnel, that answers after a silence: the one that IANA gives to echoes. A board asks it how long the NAT in front of it remembers.
pub const ECHO_PORT: u16 = 7;

/// Keys of a hub whose tunnels are interfaces: its own, the one that replaces it, and room for one that nobody retired.
pub const HUB_INTERFACES: usize = 3;
