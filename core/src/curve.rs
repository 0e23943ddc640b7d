//! Ed25519 signatures and X25519 public keys, by one of two libraries.
//!
//! | | flash on Armv7-M | one verification |
//! |---|---|---|
//! | `dalek`, the default | 15 KB with its hash | 2 million instructions |
//! | `salty`, for `--cfg lightship_curve="small"` in `RUSTFLAGS` | 6 KB with its hash | 50 times as many |
//!
//! A board whose flash is short chooses the small one in its `.cargo/config.toml`, beside `sha2_backend_soft="compact"`.
//! Both follow one rule, and a test holds them against each other and against Project Wycheproof's vectors: RFC 8032, section 5.1.7, without the cofactor, and neither key nor signature may hold a point of small order or a number that is written longer than it is.

#[cfg(any(test, not(lightship_curve = "small")))]
mod dalek;
#[cfg(any(test, lightship_curve = "small"))]
mod salty;
#[cfg(test)]
mod tests;

#[cfg(not(lightship_curve = "small"))]
pub(crate) use dalek::{public, verify};
#[cfg(lightship_curve = "small")]
pub(crate) use salty::{public, verify};

/// Whether the y of a compressed point is below the field's prime, 2^255 - 19 (RFC 8032, section 5.1.3).
fn is_canonical(point: &[u8]) -> bool {
    let Some(([low, middle @ ..], high)) = point.split_last().map(|(high, rest)| (rest, high))
    else {
        return false;
    };
    high & 0x7f != 0x7f || *low < 0xed || middle.iter().any(|byte| *byte != 0xff)
}
