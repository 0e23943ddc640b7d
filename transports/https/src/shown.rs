//! What a device shows, and what the status of an answer means.

use lightship_link::{Credentials, Failure, Misconduct, Secret, Unreachable};

/// `Bearer <uuid>.<hex of the key>`.
pub(crate) type Bearer = [u8; 7 + 36 + 1 + 64];

/// What a registered device shows; a provisioning key is shown in the registration itself.
pub(crate) fn bearer(credentials: &Credentials) -> Option<Bearer> {
    let Secret::Api(key) = &credentials.secret else {
        return None;
    };
    let mut text = *b"Bearer ------------------------------------.----------------------------------------------------------------";
    text[7..43].copy_from_slice(credentials.uuid.to_text().as_bytes());
    let digit = |value: u8| match value {
        0..10 => b'0' + value,
        _ => b'a' + value - 10,
    };
    for (place, byte) in text[44..].chunks_exact_mut(2).zip(key.0) {
        place.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    Some(text)
}

/// What a status from 300 on means.
pub(crate) fn failure(status: u16, retry_after_s: Option<u32>) -> Failure {
    match status {
        401 | 403 => Failure::Refused { retry_after_s },
        429 | 503 => Failure::Busy { retry_after_s },
        413 => Failure::TooLarge,
        400..=499 => Failure::Declined,
        500..=599 => Failure::Unreachable(Unreachable::Server),
        _ => Failure::Misbehaved(Misconduct::Sequence),
    }
}
