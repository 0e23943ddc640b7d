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

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use embassy_futures::block_on;
    use std::vec::Vec;

    /// Reads a blob whose bytes are their offsets, while its link is up.
    struct Reader<'t> {
        is_up: &'t Cell<bool>,
        asked: &'t Cell<u64>,
    }

    impl Blobs for Reader<'_> {
        async fn read(
            &mut self,
            _: &Digest,
            offset: u64,
            into: &mut [u8],
        ) -> Result<usize, BlobFailure> {
            if !self.is_up.get() {
                let failure = Failure::Unreachable(Unreachable::NotConnected);
                return Err(BlobFailure::Link(failure));
            }
            self.asked.set(self.asked.get() + into.len() as u64);
            into.iter_mut()
                .zip(offset..)
                .for_each(|(byte, at)| *byte = at as u8);
            Ok(into.len())
        }
    }

    #[test]
    fn whichever_link_is_open_reads_on_where_the_other_stopped() {
        let (up, asked) = ([true, false].map(Cell::new), [0, 0].map(Cell::new));
        let [preferred, other] = [0, 1].map(|at| Reader {
            is_up: &up[at],
            asked: &asked[at],
        });
        let mut readers = Readers::new(preferred, other);
        let mut read = Vec::new();
        for open in [0, 1, 1, 0] {
            up[open].set(true);
            up[1 - open].set(false);
            let mut piece = [0; 16];
            let reading = readers.read(&Digest([1; 32]), read.len() as u64, &mut piece);
            assert_eq!(block_on(reading), Ok(16), "over {open}");
            read.extend(piece);
        }
        assert_eq!(read, (0..64).collect::<Vec<u8>>());
        assert_eq!([asked[0].get(), asked[1].get()], [32, 32], "nothing twice");
        up.iter().for_each(|up| up.set(false));
        let failed = block_on(readers.read(&Digest([1; 32]), 64, &mut [0; 16]));
        let none = Failure::Unreachable(Unreachable::NotConnected);
        assert_eq!(failed, Err(BlobFailure::Link(none)), "and it ends");
    }
}
