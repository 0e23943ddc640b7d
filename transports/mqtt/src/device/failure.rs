//! What minimq's errors mean.

use lightship_link::{Failure, Misconduct, Unreachable};
use minimq::{Error, PeerError, ReasonCode, ResourceError};

/// Why no connection came about.
pub(super) fn greeting<E>(error: &Error<E>) -> Failure {
    let retry_after_s = None;
    match error {
        Error::Peer(PeerError::Rejected(code)) => match code {
            ReasonCode::BadUsernameOrPassword
            | ReasonCode::NotAuthorized
            | ReasonCode::BadAuthMethod => Failure::Refused { retry_after_s },
            ReasonCode::ServerUnavailable | ReasonCode::ServerBusy | ReasonCode::QuotaExceeded => {
                Failure::Busy { retry_after_s }
            }
            _ => Failure::Misbehaved(Misconduct::Sequence),
        },
        other => of(other),
    }
}

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
