//! The text form of a 32-byte key: RFC 4648 base64 with its one `=`, and no other spelling of it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 44 characters.
pub(crate) struct Text([u8; 44]);

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

pub(crate) fn encode(bytes: &[u8; 32]) -> Text {
    let mut text = [b'='; 44];
    for (group, out) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let word = group.iter().enumerate().fold(0u32, |word, (i, byte)| {
            word | u32::from(*byte) << (16 - 8 * i)
        });
        for (i, character) in out.iter_mut().enumerate().take(group.len() + 1) {
            *character = ALPHABET[(word >> (18 - 6 * i)) as usize & 63];
        }
    }
    Text(text)
}

/// `None` for anything but what [`encode`] writes.
pub(crate) fn decode(text: &str) -> Option<[u8; 32]> {
    let text: &[u8; 44] = text.as_bytes().try_into().ok()?;
    let digits = text.strip_suffix(b"=")?;
    let mut bytes = [0; 32];
    for (group, out) in digits.chunks(4).zip(bytes.chunks_mut(3)) {
        let mut word = 0u32;
        for (i, character) in group.iter().enumerate() {
            let digit = ALPHABET.iter().position(|letter| letter == character)?;
            word |= (digit as u32) << (18 - 6 * i);
        }
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = (word >> (16 - 8 * i)) as u8;
        }
    }
    (encode(&bytes).0 == *text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_round_trip() {
        for start in 0..=255u8 {
            let bytes: [u8; 32] = core::array::from_fn(|i| start.wrapping_add((i * 37) as u8));
            assert_eq!(decode(encode(&bytes).as_str()), Some(bytes));
        }
    }

    #[test]
    fn a_text_that_is_not_canonical_is_refused() {
        let text = encode(&[0; 32]);
        assert_eq!(
            text.as_str(),
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        );
        // The last digit carries two bits that must be zero.
        assert_eq!(decode("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB="), None);
        assert_eq!(decode("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(decode("AAAA"), None);
        assert_eq!(decode("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!="), None);
    }
}
