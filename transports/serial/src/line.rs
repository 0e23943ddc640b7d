//! Frames on a port, and how patient to be with it.

use embassy_time::Duration;
use embedded_io_async::{Read, Write};
use lightship_link::{Failure, Unreachable};

use crate::frame::{Decoder, Frame, Head, encode};
use crate::limits::READ_BYTES;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For an answer before something is said again. The longest frame takes half a second at 115,200 baud.
    pub answer: Duration,
    /// Between signs of life on a quiet line.
    pub ping: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_millis(1500),
            ping: Duration::from_secs(30),
        }
    }
}

/// A port that carries frames: up to `IN` bytes without stuffing come in, up to `OUT` bytes with it go out.
pub(crate) struct Line<P, const IN: usize, const OUT: usize> {
    port: P,
    decoder: Decoder<IN>,
    read: [u8; READ_BYTES],
    from: usize,
    to: usize,
    out: [u8; OUT],
}

impl<P: Read + Write, const IN: usize, const OUT: usize> Line<P, IN, OUT> {
    pub(crate) fn new(port: P) -> Self {
        Self {
            port,
            decoder: Decoder::new(),
            read: [0; READ_BYTES],
            from: 0,
            to: 0,
            out: [0; OUT],
        }
    }

    /// Waits for a frame, which [`frame`](Self::frame) then has. May be dropped when the port's reads may.
    pub(crate) async fn receive(&mut self) -> Result<(), Failure> {
        loop {
            while self.from < self.to {
                let byte = self.read[self.from];
                self.from += 1;
                if self.decoder.push(byte) {
                    return Ok(());
                }
            }
            let len = self.port.read(&mut self.read).await;
            let len = len.map_err(|_| broken())?;
            if len == 0 {
                return Err(broken());
            }
            (self.from, self.to) = (0, len.min(READ_BYTES));
        }
    }

    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        self.decoder.frame()
    }

    pub(crate) async fn send(&mut self, head: Head, payload: &[u8]) -> Result<(), Failure> {
        let len = encode(head, payload, &mut self.out).ok_or(Failure::TooLarge)?;
        let written = self.port.write_all(&self.out[..len]).await;
        written.map_err(|_| broken())?;
        self.port.flush().await.map_err(|_| broken())
    }
}

pub(crate) fn broken() -> Failure {
    Failure::Unreachable(Unreachable::Broken)
}

pub(crate) fn silent() -> Failure {
    Failure::Unreachable(Unreachable::Silent)
}
