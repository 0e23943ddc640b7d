//! A stream for tests: plays what a broker says and records what a device does, a few bytes at a time and with pauses.

extern crate std;

use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;
use std::vec::Vec;

use embedded_io_async::{ErrorType, Read, Write};

pub(super) struct Tape {
    pub(super) play: Vec<u8>,
    pub(super) record: Vec<u8>,
    pub(super) flushes: usize,
    /// Most bytes at once.
    step: usize,
    /// Whether each second poll has to wait.
    has_pauses: bool,
    paused: bool,
}

impl Tape {
    pub(super) fn new(play: &[u8], step: usize) -> Self {
        Self {
            play: play.to_vec(),
            record: Vec::new(),
            flushes: 0,
            step,
            has_pauses: false,
            paused: false,
        }
    }

    pub(super) fn with_pauses(mut self) -> Self {
        self.has_pauses = true;
        self
    }

    async fn pause(&mut self) {
        poll_fn(|context| {
            self.paused = self.has_pauses && !self.paused;
            if !self.paused {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl ErrorType for Tape {
    type Error = Infallible;
}

impl Read for Tape {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        self.pause().await;
        let len = self.step.min(into.len()).min(self.play.len());
        for (place, byte) in into.iter_mut().zip(self.play.drain(..len)) {
            *place = byte;
        }
        Ok(len)
    }
}

impl Write for Tape {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.pause().await;
        let len = self.step.min(bytes.len());
        self.record.extend(&bytes[..len]);
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        self.pause().await;
        self.flushes += 1;
        Ok(())
    }
}
