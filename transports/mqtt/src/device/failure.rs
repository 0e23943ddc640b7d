//! What a broker's reasons mean (OASIS MQTT 5.0, section 2.4).

use lightship_link::{Failure, Unreachable};

/// Why there is no connection, or no longer one: the reason of a CONNACK or of a DISCONNECT, or what any other means there.
pub(super) fn of(reason: u8, otherwise: Failure) -> Failure {
    let retry_after_s = None;
    match reason {
        0x86 | 0x87 | 0x8a | 0x8c | 0x98 => Failure::Refused { retry_after_s },
        0x88 | 0x89 | 0x96 | 0x97 | 0x9f => Failure::Busy { retry_after_s },
        0x8d => Failure::Unreachable(Unreachable::Silent),
        0x8e => Failure::TakenOver,
        0x95 => Failure::TooLarge,
        _ => otherwise,
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
    use lightship_link::Misconduct;

    use super::*;

    #[test]
    fn the_reasons_of_a_broker_are_told_apart() {
        let retry_after_s = None;
        let otherwise = Failure::Misbehaved(Misconduct::Sequence);
        for (reasons, expected) in [
            (
                &[0x86, 0x87, 0x8a, 0x8c, 0x98][..],
                Failure::Refused { retry_after_s },
            ),
            (
                &[0x88, 0x89, 0x96, 0x97, 0x9f],
                Failure::Busy { retry_after_s },
            ),
            (&[0x8d], Failure::Unreachable(Unreachable::Silent)),
            (&[0x8e], Failure::TakenOver),
            (&[0x95], Failure::TooLarge),
            // A broker of MQTT 3.1.1 refuses our version with a one.
            (&[0, 1, 0x80, 0x82, 0x8b, 0x90, 0xff], otherwise),
        ] {
            for reason in reasons {
                assert_eq!(of(*reason, otherwise), expected, "{reason:#x}");
            }
        }
    }

    #[test]
    fn a_message_that_nobody_listens_to_was_taken() {
        assert_eq!(acknowledged(0), Ok(()));
        assert_eq!(acknowledged(0x10), Ok(()));
        assert_eq!(acknowledged(0x80), Err(Failure::Declined));
        assert_eq!(acknowledged(0x97), Err(Failure::Declined));
    }
}
