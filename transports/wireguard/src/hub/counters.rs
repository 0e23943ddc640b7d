//! What the hub dropped, and why. Each count is of datagrams since the hub started.

/// Every reason for which a datagram is not delivered, and the few other things worth counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// No WireGuard message: wrong length, type or reserved bytes.
    pub malformed: u64,
    /// Handshakes whose first check (`mac1`) names none of the hub's keys on that port.
    pub strangers: u64,
    /// Handshakes from device keys that the hub does not know, on the fleet's port.
    pub unknown_devices: u64,
    /// Messages for a session that does not exist (any more).
    pub unknown_sessions: u64,
    /// Messages whose authentication failed.
    pub forged: u64,
    /// Handshakes and packets that were seen before.
    pub replayed: u64,
    /// Packets whose inner source is not the device's own address, or that are no IPv4.
    pub spoofed: u64,
    /// Packets to anything but the hub: to another device, or out into a network.
    pub not_for_hub: u64,
    /// Handshakes answered with a cookie, because too many came.
    pub cookies: u64,
    /// Handshakes refused because their source had its share, or a table was full.
    pub refused: u64,
    /// Handshakes answered.
    pub handshakes: u64,
    /// Keep-alives of one byte, which hold a mapping open and carry nothing.
    pub pings: u64,
    /// Datagrams that the operating system did not take.
    pub unsent: u64,
}

impl Counters {
    /// Files what an engine refused under its reason.
    pub(super) fn refusal(&mut self, error: wireguard_sans_io::Error) {
        use wireguard_sans_io::Error;
        let count = match error {
            Error::InvalidPacket => &mut self.malformed,
            Error::InvalidMac1 => &mut self.strangers,
            Error::ReplayedTimestamp | Error::Replay => &mut self.replayed,
            Error::UnknownReceiverIndex
            | Error::NoPendingHandshake
            | Error::Expired
            | Error::NotEstablished => &mut self.unknown_sessions,
            // `Error` is open for additions; whatever else it refuses did not prove itself.
            _ => &mut self.forged,
        };
        *count += 1;
    }
}
