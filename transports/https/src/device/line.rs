//! A way to the fleet: one stream after the other, each used again as long as both ends keep it.

use embedded_io_async::{ErrorType, Read, Write};
use lightship_link::{Failure, Unreachable};

use super::Dial;

/// A way to the fleet, with the stream that is open on it.
pub(super) struct Line<'d, D: Dial + 'd> {
    dial: &'d D,
    stream: Option<D::Stream<'d>>,
}

impl<'d, D: Dial> Line<'d, D> {
    pub(super) fn new(dial: &'d D) -> Self {
        Self { dial, stream: None }
    }

    /// Opens a stream, and keeps it for the first request.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        self.stream = Some(self.dial.dial().await.map_err(Failure::Unreachable)?);
        Ok(())
    }

    /// Sends a request and waits for the first byte of its answer.
    ///
    /// A stream that was kept may have been closed since; then the request is sent again on a new one, once.
    /// Every message of this protocol may be sent twice.
    pub(super) async fn send(
        &mut self,
        request: &[u8],
    ) -> Result<Answering<D::Stream<'d>>, Failure> {
        if let Some(stream) = self.stream.take()
            && let Ok(answering) = Answering::new(stream, request).await
        {
            return Ok(answering);
        }
        let stream = self.dial.dial().await.map_err(Failure::Unreachable)?;
        Answering::new(stream, request).await
    }

    /// Takes a stream back on which an answer came whole.
    pub(super) fn keep(&mut self, answering: Answering<D::Stream<'d>>) {
        self.stream = Some(answering.stream);
    }
}

/// A stream on which an answer has begun.
pub(super) struct Answering<S> {
    stream: S,
    first: Option<u8>,
}

impl<S: Read + Write> Answering<S> {
    async fn new(mut stream: S, request: &[u8]) -> Result<Self, Failure> {
        let broken = Failure::Unreachable(Unreachable::Broken);
        let mut first = [0];
        stream.write_all(request).await.map_err(|_| broken)?;
        stream.flush().await.map_err(|_| broken)?;
        match stream.read(&mut first).await {
            Ok(1..) => Ok(Self {
                stream,
                first: Some(first[0]),
            }),
            Ok(0) | Err(_) => Err(broken),
        }
    }
}

impl<S: ErrorType> ErrorType for Answering<S> {
    type Error = S::Error;
}

impl<S: Read> Read for Answering<S> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, S::Error> {
        if let Some(place) = into.first_mut()
            && let Some(first) = self.first.take()
        {
            *place = first;
            return Ok(1);
        }
        self.stream.read(into).await
    }
}
