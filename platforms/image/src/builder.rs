//! Makes images on the host.
//!
//! The signature comes from a closure over the bytes to sign, so that the release key can stay
//! offline or in hardware.

use crate::check::{Accept, Place, Span};
use crate::{Entry, HEADER_LEN, Header, HeaderBytes, Name, Reject, Version};
use ed25519_dalek::{Signer, SigningKey};
use lightship_core::hash::sha256;
use std::vec::Vec;

/// What a person decides about an image.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// The board whose hardware the image drives.
    pub board: &'a str,
    /// The kind of product the image makes of the board.
    pub device_type: &'a str,
    /// The version a person gives it.
    pub version: Version,
    /// Compared with the device's version floor.
    pub security_version: u32,
    /// Address at which the body's first byte runs.
    pub load: u32,
    /// Address of the entry, inside the body.
    pub entry: u32,
    /// What stands at the entry address.
    pub kind: Entry,
}

/// Why an image was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The name of the board or of the device type is not 1 to 32 of `a-z`, `0-9` and `-`.
    #[error("`{0}` is not a name: 1 to 32 characters of a-z, 0-9 and -")]
    Name(std::string::String),
    /// A body has at most 4 GiB less the header.
    #[error("the body is too large for the header's 32 bits")]
    TooLarge,
    /// No device could run it.
    #[error("no device would run the image: {0}")]
    Unbootable(Reject),
}

/// The whole image, header and body.
///
/// # Errors
///
/// An image that no device could run is not made.
pub fn build(
    recipe: &Recipe<'_>,
    body: &[u8],
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<Vec<u8>, BuildError> {
    let header = recipe.header(body)?;
    let signed = header.encode();
    let mut bytes: HeaderBytes = [0; HEADER_LEN];
    bytes[..signed.len()].copy_from_slice(&signed);
    let signature = sign(&signed);
    bytes[signed.len()..].copy_from_slice(&signature);
    runs(&header, &bytes, body).map_err(BuildError::Unbootable)?;
    Ok([&bytes, body].concat())
}

/// Signs with a key that is at hand.
pub fn sign(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    key.sign(message).to_bytes()
}

impl Recipe<'_> {
    fn header(&self, body: &[u8]) -> Result<Header, BuildError> {
        let name = |text: &str| Name::new(text).ok_or_else(|| BuildError::Name(text.into()));
        let size = u32::try_from(body.len() + HEADER_LEN).map_err(|_| BuildError::TooLarge)?;
        Ok(Header {
            board: name(self.board)?,
            device_type: name(self.device_type)?,
            version: self.version,
            security_version: self.security_version,
            size: size - HEADER_LEN as u32,
            load: self.load,
            entry: self.entry,
            kind: self.kind,
            digest: sha256(&[body]),
        })
    }
}

/// What can be said without knowing the device: form, entry and vector table.
fn runs(header: &Header, bytes: &HeaderBytes, body: &[u8]) -> Result<(), Reject> {
    let everywhere = Span {
        start: 0,
        len: u32::MAX,
    };
    let accept = Accept {
        keys: &[[0; 32]],
        board: header.board.as_str(),
        device_type: header.device_type.as_str(),
        floor: 0,
        capacity: u32::MAX,
        place: Place::Within(everywhere),
        stack: everywhere,
    };
    accept.header(&AnyKey, bytes)?;
    let mut check = accept.body(header);
    check.update(body);
    check.finish()
}

/// The builder does not know the device's keys; it only refuses a signature of zeros.
struct AnyKey;

impl crate::check::Ed25519 for AnyKey {
    fn verify(&self, _key: &[u8; 32], _message: &[u8], signature: &[u8; 64]) -> bool {
        signature.iter().any(|byte| *byte != 0)
    }
}

/// The digest that names the whole image as an artifact.
pub fn artifact_digest(image: &[u8]) -> [u8; 32] {
    sha256(&[image])
}
