//! Bytes inside a message.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json;
use crate::codec::{Decode, Encode, Reader, Writer};

/// Bytes inside a message: raw in postcard, base64 (RFC 4648, section 4) in JSON.
///
/// JSON leaves them encoded; [`json::decode_down`] decodes them into memory of the caller's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blob<'a> {
    /// The bytes.
    Raw(&'a [u8]),
    /// Their base64 text, not yet decoded.
    Base64(&'a str),
}

impl core::fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Raw(bytes) => write!(f, "{} B", bytes.len()),
            Self::Base64(text) => write!(f, "{} characters", text.len()),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Blob<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Raw(bytes) => defmt::write!(f, "{=usize} B", bytes.len()),
            Self::Base64(text) => defmt::write!(f, "{=usize} characters", text.len()),
        }
    }
}

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (self, s.is_human_readable()) {
            (Self::Raw(bytes), false) => s.serialize_bytes(bytes),
            (Self::Raw(bytes), true) => s.collect_str(&json::Base64(bytes)),
            (Self::Base64(text), true) => s.serialize_str(text),
            (Self::Base64(_), false) => Err(serde::ser::Error::custom("blob is not decoded")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            d.deserialize_str(BlobVisitor)
        } else {
            d.deserialize_bytes(BlobVisitor)
        }
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob<'de>;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes, or their base64 text")
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Blob<'de>, E> {
        Ok(Blob::Raw(bytes))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Blob<'de>, E> {
        Ok(Blob::Base64(text))
    }
}

impl Encode for Blob<'_> {
    fn encode(&self, to: &mut Writer<'_>) {
        match self {
            Self::Raw(bytes) => to.run(bytes),
            // It would have to be decoded first.
            Self::Base64(_) => to.refuse(),
        }
    }
}

impl<'a> Decode<'a> for Blob<'a> {
    fn decode(from: &mut Reader<'a>) -> Self {
        Self::Raw(from.run())
    }
}
