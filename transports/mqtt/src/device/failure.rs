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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_a_broker_are_told_apart() {
        let retry_after_s = None;
        for reason in [0x86, 0x87, 0x8a, 0x8c] {
            assert_eq!(refused(reason), Failure::Refused { retry_after_s });
        }
        for reason in [0x88, 0x89, 0x97, 0x9f] {
            assert_eq!(refused(reason), Failure::Busy { retry_after_s });
        }
        assert_eq!(refused(0x95), Failure::TooLarge);
        // A broker of MQTT 3.1.1 does not know our version.
        assert_eq!(refused(1), Failure::Misbehaved(Misconduct::Sequence));
        assert_eq!(disconnected(0x8e), Failure::TakenOver);
        assert_eq!(
            disconnected(0x8d),
            Failure::Unreachable(Unreachable::Silent)
        );
        assert_eq!(
            disconnected(0x8b),
            Failure::Unreachable(Unreachable::Broken)
        );
    }

    #[test]
    fn a_message_that_nobody_listens_to_was_taken() {
        assert_eq!(acknowledged(0), Ok(()));
        assert_eq!(acknowledged(0x10), Ok(()));
        assert_eq!(acknowledged(0x80), Err(Failure::Declined));
        assert_eq!(acknowledged(0x97), Err(Failure::Declined));
    }
}
