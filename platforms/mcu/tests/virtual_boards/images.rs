//! Signed images for virtual boards.

use crate::board::Kind;
use ed25519_dalek::SigningKey;
use lightship_image::Version;
use lightship_image::builder::{self, Recipe};

/// The body as version `major.0.patch`.
pub(crate) fn sign(kind: &Kind, (major, patch): (u16, u32), body: &[u8]) -> Vec<u8> {
    let recipe = Recipe {
        board: kind.name,
        device_type: "virtual",
        version: Version {
            major,
            minor: 0,
            patch,
        },
        security_version: 1,
        load: kind.load,
        entry: kind.load,
        kind: kind.entry,
    };
    builder::build(&recipe, body, |message| builder::sign(&key(), message)).unwrap()
}

/// The key whose public half is `boards/virtual-release-key.pub`.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}
