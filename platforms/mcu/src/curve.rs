//! Signatures of images, by the same code that verifies documents.

use lightship_core::id::PublicKey;
use lightship_image::check::Ed25519;

/// Verifies with the core's curve, so that a firmware holds one, and the bootloader judges as the firmware did.
///
/// The curve is the one that the board's `.cargo/config.toml` chooses for the core.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreCurve;

impl Ed25519 for CoreCurve {
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        PublicKey(*key).has_signed(message, signature)
    }
}
