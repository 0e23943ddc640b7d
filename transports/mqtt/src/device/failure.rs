//! What minimq's errors mean.

use lightship_link::{Failure, Misconduct, Unreachable};
use minimq::{Error, PeerError, ResourceError};

/// Why a connection ended.
pub(super) fn of<E>(error: &Error<E>) -> Failure {
    match error {
        Error::Peer(PeerError::InvalidPacket) => Failure::Misbehaved(Misconduct::Garbage),
        Error::Peer(_) => Failure::Declined,
        Error::Resource(ResourceError::PacketTooLarge | ResourceError::BufferTooSmall) => {
            Failure::Misbehaved(Misconduct::Length)
        }
        // A session that is not ready is one whose packets are not acknowledged.
        Error::Resource(_) | Error::NotReady => Failure::Unreachable(Unreachable::Silent),
        Error::InvalidRequest => Failure::TooLarge,
        _ => Failure::Unreachable(Unreachable::Broken),
    }
}
