//! Specs and settings: small blobs that are fetched by digest and believed only when the digest is right.

use lightship_core::Failure;
use lightship_core::id::Digest;
use lightship_link::{BlobFailure, Blobs};

/// Longest document, in bytes.
const DOCUMENT_BYTES: usize = 256 * 1024;

/// Reads a whole document.
///
/// # Errors
///
/// [`Failure::Network`] and its like when it cannot be had now, [`Failure::Corrupt`] when it is not what its digest says.
pub(super) async fn read(blobs: &mut impl Blobs, digest: &Digest) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    loop {
        let offset = bytes.len() as u64;
        let read = blobs.read(digest, offset, &mut piece).await;
        let len = read.map_err(|failure| match failure {
            BlobFailure::Absent => Failure::Network,
            BlobFailure::Link(failure) => failure.into(),
        })?;
        if len == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..len]);
        if bytes.len() > DOCUMENT_BYTES {
            return Err(Failure::Corrupt);
        }
    }
    if Digest::of(&bytes) == *digest {
        Ok(bytes)
    } else {
        Err(Failure::Corrupt)
    }
}
