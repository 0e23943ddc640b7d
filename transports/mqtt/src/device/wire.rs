//! Bytes on their way: a packet that is not there yet, and packets that are not gone yet.
//!
//! Reads and writes may be dropped at any await, so how far both are stands here, and nowhere else.

use core::ops::Range;

use embedded_io_async::{Read, Write};
use lightship_link::{Failure, Misconduct, Unreachable};

use super::packet;

pub(super) const BROKEN: Failure = Failure::Unreachable(Unreachable::Broken);

/// Memory for packets, and how far it is filled.
pub(super) struct Wire<'b> {
    rx: &'b mut [u8],
    /// Bytes of the incoming packet that are there.
    come: usize,
    tx: &'b mut [u8],
    /// Bytes that are to be written, and that are written.
    queued: usize,
    written: usize,
    is_flushed: bool,
    /// Longest packet that the broker takes.
    limit: usize,
}

impl<'b> Wire<'b> {
    pub(super) fn new(rx: &'b mut [u8], tx: &'b mut [u8]) -> Self {
        Self {
            rx,
            come: 0,
            tx,
            queued: 0,
            written: 0,
            is_flushed: true,
            limit: usize::MAX,
        }
    }

    /// Longest packet that there is room for.
    pub(super) fn room(&self) -> u32 {
        u32::try_from(self.rx.len()).unwrap_or(u32::MAX)
    }

    /// From here on packets are no longer than this.
    pub(super) fn limit(&mut self, bytes: u32) {
        self.limit = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// Memory for the next packet out.
    pub(super) fn free(&mut self) -> &mut [u8] {
        self.tx.get_mut(self.queued..).unwrap_or_default()
    }

    /// Sends what was written there; what does not fit, or is too long for the broker, is not sent.
    pub(super) fn queue(&mut self, len: Option<usize>) -> Result<(), Failure> {
        let len = len.filter(|len| *len <= self.limit);
        self.queued += len.ok_or(Failure::TooLarge)?;
        Ok(())
    }

    /// Whether all packets were written.
    pub(super) fn is_idle(&self) -> bool {
        self.queued == 0
    }

    /// The packet that has come, once it is whole.
    pub(super) fn packet(&self) -> Result<Option<&[u8]>, Misconduct> {
        let come = &self.rx[..self.come];
        Ok((packet::len(come)? == self.come).then_some(come))
    }

    /// A part of the last packet, which was [taken](Self::taken).
    pub(super) fn part(&self, place: Range<usize>) -> &[u8] {
        self.rx.get(place).unwrap_or_default()
    }

    /// Makes room for the next packet.
    pub(super) fn taken(&mut self) {
        self.come = 0;
    }

    /// One step: writes what is to be written, or else reads on, but not beyond a packet that was not taken.
    pub(super) async fn step<S: Read + Write>(&mut self, stream: &mut S) -> Result<(), Failure> {
        if !self.is_idle() {
            let bytes = &self.tx[self.written..self.queued];
            let written = stream.write(bytes).await.map_err(|_| BROKEN)?;
            return self.wrote(written);
        }
        if !self.is_flushed {
            stream.flush().await.map_err(|_| BROKEN)?;
            self.is_flushed = true;
            return Ok(());
        }
        let Some(place) = self.place()? else {
            return core::future::pending().await;
        };
        match stream.read(place).await {
            Ok(0) | Err(_) => Err(BROKEN),
            Ok(read) => {
                self.come += read;
                Ok(())
            }
        }
    }

    fn wrote(&mut self, len: usize) -> Result<(), Failure> {
        if len == 0 {
            return Err(BROKEN);
        }
        self.is_flushed = false;
        self.written += len;
        if self.written >= self.queued {
            (self.written, self.queued) = (0, 0);
        }
        Ok(())
    }

    /// Where the rest of a packet goes, or as much as is known of it.
    fn place(&mut self) -> Result<Option<&mut [u8]>, Failure> {
        let come = self.come;
        let len = packet::len(&self.rx[..come]).map_err(Failure::Misbehaved)?;
        let place = self.rx.get_mut(come..len);
        let place = place.ok_or(Failure::Misbehaved(Misconduct::Length))?;
        Ok(Some(place).filter(|place| !place.is_empty()))
    }
}

#[cfg(test)]
mod tests;
