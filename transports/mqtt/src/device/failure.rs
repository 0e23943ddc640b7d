//! What a broker's reasons mean (OASIS MQTT 5.0, section 2.4).

use lightship_link::{Failure, Misconduct, Unreachable};

/// Why there is no connection: the reason of a CONNACK.
pub(super) fn refused(reason: u8) -> Failure {
    let retry_after_s = None;
    match reason {
        0x86 | 0x87 | 0x8a | 0x8c => Failure::Refused { retry_after_s },
        0x88 | 0x89 | 0x97 | 0x9f => Failure::Busy { retry_after_s },
        0x95 => Failure::TooLarge,
        _ => Failure::Misbehaved(Misconduct::Sequence),
    }
}

/// Why a connection ended: the reason of a DISCONNECT.
pub(super) fn disconnected(reason: u8) -> Failure {
    let retry_after_s = None;
    match reason {
        0x8e => Failure::TakenOver,
        0x87 | 0x98 => Failure::Refused { retry_after_s },
        0x89 | 0x96 | 0x97 | 0x9f => Failure::Busy { retry_after_s },
        0x8d => Failure::Unreachable(Unreachable::Silent),
        0x95 => Failure::TooLarge,
        _ => Failure::Unreachable(Unreachable::Broken),
    }
}

/// What became of a message: the reason of a PUBACK. From 0x80 on it is one against it.
pub(super) fn acknowledged(reason: u8) -> Result<(), Failure> {
    match reason {
        ..0x80 => Ok(()),
        0x80.. => Err(Failure::Declined),
    }
}
