//! Which image made frames of defmt: what a batch of them begins with on its way to the fleet.
//!
//! Frames mean something with the ELF of their image alone, so each batch says which that is: by the beginning of the digest that the image's header has, and by where the image runs, in hexadecimal.
//! It ends with a zero, as a frame does; whoever does not know it sees one frame that means nothing.

/// Bytes of an origin.
pub const ORIGIN_LEN: usize = MARK.len() + 2 * TOLD_LEN + 1;

/// Bytes of the digest that are told: enough to tell a product's images apart.
const DIGEST_LEN: usize = 8;
/// Bytes that are told: the digest's, and an address.
const TOLD_LEN: usize = DIGEST_LEN + 4;

const MARK: [u8; 6] = *b"image:";

/// An image, as its logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    digest: [u8; DIGEST_LEN],
    load: u32,
}

impl Origin {
    /// No image in particular.
    pub const NONE: Self = Self {
        digest: [0; _],
        load: 0,
    };

    /// The image whose body has this digest and runs from this address on.
    pub fn new(digest: &[u8; 32], load: u32) -> Self {
        let digest = core::array::from_fn(|at| digest[at]);
        Self { digest, load }
    }

    /// The address of the first byte of the image's body.
    pub fn load(self) -> u32 {
        self.load
    }

    /// What a batch begins with.
    pub fn to_bytes(self) -> [u8; ORIGIN_LEN] {
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
        let mut bytes = [0; ORIGIN_LEN];
        bytes[..MARK.len()].copy_from_slice(&MARK);
        let told = self.digest.into_iter().chain(self.load.to_be_bytes());
        for (pair, byte) in bytes[MARK.len()..].chunks_exact_mut(2).zip(told) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        bytes
    }

    /// Which image made a batch, and its frames; `None` if it does not say.
    pub fn split(batch: &[u8]) -> Option<(Self, &[u8])> {
        let (origin, frames) = batch.split_at_checked(ORIGIN_LEN)?;
        let digits = origin.strip_prefix(&MARK)?.strip_suffix(&[0])?;
        let mut told = [0; TOLD_LEN];
        for (byte, pair) in told.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        let (digest, load) = told.split_first_chunk()?;
        let load = u32::from_be_bytes(load.try_into().ok()?);
        let digest = *digest;
        Some((Self { digest, load }, frames))
    }
}

impl core::fmt::Display for Origin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut digest = self.digest.iter();
        digest.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn a_batch_says_which_image_made_it() {
        let origin = Origin::new(&core::array::from_fn(|at| 0x9A + at as u8), 0x1002_0100);
        let batch = [&origin.to_bytes()[..], &[1, 2, 0]].concat();
        assert_eq!(Origin::split(&batch), Some((origin, &[1, 2, 0][..])));
        assert_eq!(format!("{origin}"), "9a9b9c9d9e9fa0a1");
        assert_eq!(&batch[..ORIGIN_LEN], b"image:9a9b9c9d9e9fa0a110020100\0");
    }

    #[test]
    fn a_batch_that_does_not_say_has_no_origin() {
        let good = Origin::NONE.to_bytes();
        for at in 0..ORIGIN_LEN {
            let mut bad = good;
            bad[at] = b'x';
            assert_eq!(Origin::split(&bad), None, "byte {at}");
            assert_eq!(Origin::split(&good[..at]), None, "{at} bytes");
        }
    }
}
