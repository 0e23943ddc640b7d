//! Blobs by the link that is open: in chunks over MQTT, in ranges over HTTP.

use lightship_core::id::Digest;
use lightship_link::{BlobFailure, Blobs, Failure, Unreachable};

/// Two readers, of which one is connected; a read that finds its link closed is asked of the other.
pub(super) struct Readers<A, B> {
    preferred: A,
    other: B,
    use_other: bool,
}

impl<A: Blobs, B: Blobs> Readers<A, B> {
    pub(super) fn new(preferred: A, other: B) -> Self {
        Self {
            preferred,
            other,
            use_other: false,
        }
    }
}

impl<A: Blobs, B: Blobs> Blobs for Readers<A, B> {
    async fn read(
        &mut self,
        digest: &Digest,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, BlobFailure> {
        for _ in 0..2 {
            let read = match self.use_other {
                false => self.preferred.read(digest, offset, into).await,
                true => self.other.read(digest, offset, into).await,
            };
            match read {
                Err(BlobFailure::Link(Failure::Unreachable(Unreachable::NotConnected))) => {
                    self.use_other = !self.use_other;
                }
                Ok(_) | Err(_) => return read,
            }
        }
        Err(BlobFailure::Link(Failure::Unreachable(
            Unreachable::NotConnected,
        )))
    }
}
