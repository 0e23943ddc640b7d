//! Identifiers, digests and keys: one newtype each.
//!
//! In postcard they are bytes behind their length, because reading an array byte by byte costs a kilobyte of code; in JSON they are lower-case hexadecimal text, and a [`Uuid`] has its usual hyphens (RFC 9562, section 4).
//! Secrets never print themselves.

use core::fmt;
use heapless::{String, Vec};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::{Decode, Encode, Reader, Writer};
use crate::hash::sha256;
use crate::limits::{ENDPOINT_BYTES, NAME_BYTES, VERSION_BYTES};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Hexadecimal text of `bytes` in `out`, which is twice as long.
fn hex_encode(bytes: &[u8], out: &mut [u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

/// The bytes of exactly `2 * N` lower-case hexadecimal digits.
fn hex_decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(out)
}

struct FixedVisitor<const N: usize>;

impl<const N: usize> Visitor<'_> for FixedVisitor<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{N} bytes, or twice as many lower-case hexadecimal digits"
        )
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        bytes
            .try_into()
            .map_err(|_| E::custom("not bytes of the right length"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        hex_decode(text.as_bytes()).ok_or_else(|| E::custom("not hexadecimal of the right length"))
    }
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $($show:tt)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if !s.is_human_readable() {
                    return s.serialize_bytes(&self.0);
                }
                let mut text = [0; 2 * $len];
                hex_encode(&self.0, &mut text);
                s.serialize_str(core::str::from_utf8(&text).expect("hexadecimal is ASCII"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    d.deserialize_str(FixedVisitor::<$len>).map(Self)
                } else {
                    d.deserialize_bytes(FixedVisitor::<$len>).map(Self)
                }
            }
        }

        impl Encode for $name {
            fn encode(&self, to: &mut Writer<'_>) {
                to.run(&self.0);
            }
        }

        impl Decode<'_> for $name {
            fn decode(from: &mut Reader<'_>) -> Self {
                let mut bytes = [0; $len];
                from.fill(&mut bytes);
                Self(bytes)
            }
        }

        fixed_bytes!(@show $name, $len, $($show)*);
    };
    (@show $name:ident, $len:literal, public) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 2 * $len];
                hex_encode(&self.0, &mut text);
                f.write_str(core::str::from_utf8(&text).expect("hexadecimal is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 8];
                hex_encode(&self.0[..4], &mut text);
                f.write_str(core::str::from_utf8(&text).expect("hexadecimal is ASCII"))
            }
        }

        impl core::str::FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                hex_decode(text.as_bytes()).map(Self).ok_or(Malformed)
            }
        }

        #[cfg(feature = "defmt")]
        impl defmt::Format for $name {
            fn format(&self, f: defmt::Formatter<'_>) {
                defmt::write!(f, "{=[u8]:02x}", &self.0[..4]);
            }
        }
    };
    (@show $name:ident, $len:literal, secret) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(secret)"))
            }
        }

        #[cfg(feature = "defmt")]
        impl defmt::Format for $name {
            fn format(&self, f: defmt::Formatter<'_>) {
                defmt::write!(f, "secret");
            }
        }
    };
}

fixed_bytes!(
    /// A SHA-256 digest (FIPS 180-4).
    Digest, 32, public
);
fixed_bytes!(
    /// The first eight bytes of the SHA-256 digest of an Ed25519 public key: how an envelope names the key that signed it.
    KeyId, 8, public
);
fixed_bytes!(
    /// An X25519 or Ed25519 public key (RFC 7748, RFC 8032).
    PublicKey, 32, public
);
fixed_bytes!(
    /// A WireGuard private key (X25519, RFC 7748).
    SecretKey, 32, secret
);
fixed_bytes!(
    /// What a device shows the fleet to say who it is: 32 random bytes.
    ApiKey, 32, secret
);
fixed_bytes!(
    /// What lets an unknown device register with one fleet: 32 random bytes.
    ProvisioningKey, 32, secret
);
fixed_bytes!(
    /// A WireGuard pre-shared key.
    PresharedKey, 32, secret
);

/// Text that is not what it should be; the type it was meant for says what that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed text")
    }
}

impl core::error::Error for Malformed {}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(&[bytes]))
    }

    /// The digest of this digest followed by `bytes`.
    pub fn chain(&self, bytes: &[u8]) -> Self {
        Self(sha256(&[&self.0, bytes]))
    }
}

impl KeyId {
    /// The identifier of an Ed25519 public key.
    pub fn of(key: &PublicKey) -> Self {
        let digest = Digest::of(&key.0);
        let mut id = [0; 8];
        id.copy_from_slice(&digest.0[..8]);
        Self(id)
    }
}

impl PublicKey {
    /// Whether this Ed25519 key made that signature of `message` (RFC 8032, section 5.1.7; strictly, without the cofactor).
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        crate::curve::verify(&self.0, message, signature)
    }
}

impl SecretKey {
    /// The X25519 public key that belongs to this private key (RFC 7748, section 5).
    pub fn public(&self) -> PublicKey {
        PublicKey(crate::curve::public(&self.0))
    }
}

/// A device's identity: a version 4 UUID (RFC 9562, section 5.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The version 4 UUID made of these random bytes.
    #[inline(never)]
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The 36 characters of the usual text form.
    pub fn to_text(self) -> String<36> {
        let mut text = Vec::from([b'-'; 36]);
        let (mut at, mut bytes) = (0, self.0.as_slice());
        for group in [4, 2, 2, 2, 6] {
            let (these, rest) = bytes.split_at(group);
            hex_encode(these, &mut text[at..at + 2 * group]);
            (at, bytes) = (at + 2 * group + 1, rest);
        }
        String::from_utf8(text).expect("hexadecimal and hyphens are ASCII")
    }
}

impl core::str::FromStr for Uuid {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&i| bytes[i] != b'-') {
            return Err(Malformed);
        }
        let mut hex = [0; 32];
        let digits = bytes.iter().enumerate();
        let digits = digits.filter(|(i, _)| ![8, 13, 18, 23].contains(i));
        for (to, (_, from)) in hex.iter_mut().zip(digits) {
            *to = *from;
        }
        hex_decode(&hex).map(Self).ok_or(Malformed)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Uuid {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.to_text().as_str());
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_str(&self.to_text())
        } else {
            s.serialize_bytes(&self.0)
        }
    }
}

impl Encode for Uuid {
    fn encode(&self, to: &mut Writer<'_>) {
        to.run(&self.0);
    }
}

impl Decode<'_> for Uuid {
    fn decode(from: &mut Reader<'_>) -> Self {
        let mut bytes = [0; 16];
        from.fill(&mut bytes);
        Self(bytes)
    }
}

struct UuidVisitor;

impl Visitor<'_> for UuidVisitor {
    type Value = Uuid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a UUID in its 36 character form")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Uuid, E> {
        text.parse().map_err(|_| E::custom("not a UUID"))
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            d.deserialize_str(UuidVisitor)
        } else {
            d.deserialize_bytes(FixedVisitor::<16>).map(Self)
        }
    }
}

/// The next text, of at most so many bytes; another is refused, and none then.
#[inline(never)]
fn text_run<'a>(from: &mut Reader<'a>, most: usize, allowed: fn(u8) -> bool) -> &'a [u8] {
    let run = from.run();
    if run.len() <= most && is_text(run, allowed) {
        return run;
    }
    from.refuse();
    &[]
}

/// Whether these bytes are some and all allowed.
fn is_text(bytes: &[u8], allowed: fn(u8) -> bool) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| allowed(*byte))
}

macro_rules! short_text {
    ($(#[$doc:meta])* $name:ident, $len:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Vec<u8, { $len }, u8>);

        impl $name {
            /// The text, checked.
            pub fn new(text: &str) -> Result<Self, Malformed> {
                if !is_text(text.as_bytes(), $allowed) {
                    return Err(Malformed);
                }
                Vec::from_slice(text.as_bytes()).map(Self).map_err(|_| Malformed)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                core::str::from_utf8(&self.0).expect("what is allowed is ASCII")
            }
        }

        impl Encode for $name {
            fn encode(&self, to: &mut Writer<'_>) {
                to.run(&self.0);
            }
        }

        impl Decode<'_> for $name {
            fn decode(from: &mut Reader<'_>) -> Self {
                let mut text = Vec::new();
                let run = text_run(from, { $len }, $allowed);
                text.extend_from_slice(run).expect("it is no longer than that");
                Self(text)
            }
        }

        impl core::str::FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[cfg(feature = "defmt")]
        impl defmt::Format for $name {
            fn format(&self, f: defmt::Formatter<'_>) {
                defmt::write!(f, "{=str}", self.as_str());
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", stringify!($name)))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(|_| E::custom("empty, too long, or a character that is not allowed"))
                    }
                }
                d.deserialize_str(Text)
            }
        }
    };
}

short_text!(
    /// The name of a component, a device type, a product: 1 to 32 of `a-z 0-9 - _`.
    ///
    /// No dots and slashes, because names become topic levels, host names and file names.
    Name, NAME_BYTES,
    |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')
);
short_text!(
    /// A version for people to read: 1 to 24 of `A-Z a-z 0-9 . - + _`; nothing is decided by it.
    Version, VERSION_BYTES,
    |c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'+' | b'_')
);
short_text!(
    /// Where a tunnel hub listens: `host:port`, 1 to 64 printable characters without quotes and backslash.
    Endpoint, ENDPOINT_BYTES,
    |c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\')
);

#[cfg(test)]
mod tests;
