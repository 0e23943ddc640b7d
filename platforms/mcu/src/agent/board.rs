//! What the agent needs of a board beside its flash.

use core::net::{Ipv4Addr, SocketAddrV4};

/// Why the device started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The power came back, or the reset button was pressed.
    Power,
    /// The watchdog: the firmware hung.
    Watchdog,
    /// A panic or a fault.
    Fault,
    /// The firmware asked for it.
    Asked,
    /// The hardware does not tell.
    Unknown,
}

impl ResetReason {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Watchdog => "watchdog",
            Self::Fault => "fault",
            Self::Asked => "asked",
            Self::Unknown => "unknown",
        }
    }
}

/// There is no randomness now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEntropy;

/// A board.
pub trait Board {
    /// Fills `bytes` with what nobody can guess: keys are made of it.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`]; the device makes no keys then and tries again later.
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy>;

    /// Restarts the device; where it returns, the agent comes to its end.
    fn reset(&mut self);

    /// Feeds the watchdog. Called every [`FEED_EVERY`](crate::limits::FEED_EVERY) while the agent runs.
    fn feed(&mut self) {}

    /// Makes the device visible to someone who stands before it.
    fn identify(&mut self) {}

    /// So many bytes of a new image are in flash.
    fn fetched(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// Why the device started this time.
    fn reset_reason(&mut self) -> ResetReason {
        ResetReason::Unknown
    }

    /// Copies what a panic or fault of the last life said to the start of `into` and returns its length, forgetting it.
    fn take_fault(&mut self, into: &mut [u8]) -> usize {
        let _ = into;
        0
    }

    /// Takes note of what the agent does; to print it, for example.
    fn note(&mut self, note: &lightship_core::Note) {
        let _ = note;
    }
}

/// The network around the tunnel: UDP, and names.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, and so neither is Send"
)]
pub trait Outside {
    /// The card of the board's own stack, if that is of embassy-net too and is given a [`Nic`](super::Nic); otherwise [`Alone`](super::Alone).
    type Card: embassy_net::driver::Driver;

    /// The address of a host, which may be an address already. Takes no longer than seconds.
    ///
    /// `number` is one that nobody can guess, for who asks a name server by itself: an answer repeats it.
    async fn resolve(&mut self, host: &str, number: u16) -> Option<Ipv4Addr>;

    /// Sends a datagram; what cannot be sent is lost.
    async fn send(&mut self, to: SocketAddrV4, datagram: &[u8]);

    /// Waits for a datagram and returns its length and where it came from. May be dropped at any time.
    async fn receive(&mut self, buffer: &mut [u8]) -> (usize, SocketAddrV4);
}
