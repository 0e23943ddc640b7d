//! Key material: newtypes that keep a public key, a private key and a pre-shared key apart.
//!
//! They hold bytes and nothing else, so that the rest of Lightship needs no cryptography to store them.
//! Secrets are wiped when dropped and never printed.
//! The text form is the one of `wg(8)`: 44 characters of base64.

use core::fmt;
use core::str::FromStr;

use zeroize::Zeroize;

use crate::base64;

/// A Curve25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A Curve25519 private key.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub [u8; 32]);

/// A pre-shared key, mixed into each handshake beside the key pairs (whitepaper, section 5.2).
///
/// The default, all zero, is the protocol's "none".
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PresharedKey(pub [u8; 32]);

/// The text is not 44 characters of base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedKey;

impl SecretKey {
    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.engine().public_key().as_bytes())
    }

    pub(crate) fn engine(&self) -> wireguard_sans_io::StaticSecret {
        wireguard_sans_io::StaticSecret::from_bytes(self.0)
    }
}

impl PublicKey {
    pub(crate) fn engine(&self) -> wireguard_sans_io::PublicKey {
        wireguard_sans_io::PublicKey::from_bytes(self.0)
    }
}

impl PresharedKey {
    pub(crate) fn engine(&self) -> wireguard_sans_io::PresharedKey {
        wireguard_sans_io::PresharedKey::from_bytes(self.0)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for PresharedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(feature = "std")]
impl SecretKey {
    /// A fresh key from the operating system's random source.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        crate::entropy::fill(&mut bytes);
        Self(bytes)
    }
}

#[cfg(feature = "std")]
impl PresharedKey {
    /// A fresh key from the operating system's random source.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        crate::entropy::fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(base64::encode(&self.0).as_str())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

impl fmt::Display for MalformedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 44 characters of base64")
    }
}

impl core::error::Error for MalformedKey {}

impl FromStr for PublicKey {
    type Err = MalformedKey;
    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        base64::decode(text).map(Self).ok_or(MalformedKey)
    }
}

impl FromStr for SecretKey {
    type Err = MalformedKey;
    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        base64::decode(text).map(Self).ok_or(MalformedKey)
    }
}

impl FromStr for PresharedKey {
    type Err = MalformedKey;
    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        base64::decode(text).map(Self).ok_or(MalformedKey)
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn the_public_half_is_that_of_rfc_7748() {
        let alice = SecretKey([
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ]);
        assert_eq!(
            alice.public().to_string(),
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
        );
    }

    #[test]
    fn text_and_bytes_are_the_same_key() {
        let key = SecretKey::generate().public();
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(
            format!("{:?} {:?}", SecretKey([7; 32]), PresharedKey([7; 32])),
            "SecretKey(..) PresharedKey(..)"
        );
    }
}
