//! Signatures of images, by the same code that verifies documents.

use lightship_core::id::PublicKey;
use lightship_image::check::Ed25519;

/// Verifies with the core's curve, so that a firmware holds one.
///
/// It follows RFC 8032 as strictly as the bootloader, or more: an image that is refused here is not written to be tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreCurve;

impl Ed25519 for CoreCurve {
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        PublicKey(*key).has_signed(message, signature)
    }
}
