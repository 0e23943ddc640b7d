//! The container's output, from pipes or a terminal into the log.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::engine::runtime::log::{Lines, Stream, Writer};

/// What is read of one stream before others get their turn.
const MAX_TURN_BYTES: usize = 64 * 1024;

/// The streams of a running container.
#[derive(Debug, Default)]
pub(super) struct Output(Vec<Source>);

#[derive(Debug)]
struct Source {
    file: File,
    stream: Stream,
    lines: Lines,
}

impl Output {
    /// Reads from these; they must not block.
    pub(super) fn new(streams: Vec<(OwnedFd, Stream)>) -> Self {
        let source = |(fd, stream)| Source {
            file: File::from(fd),
            stream,
            lines: Lines::default(),
        };
        Self(streams.into_iter().map(source).collect())
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|source| source.file.as_fd())
    }

    /// Takes what there is. A stream that ended is let go.
    pub(super) fn pump(&mut self, log: &mut Writer) {
        self.0.retain_mut(|source| source.pump(log));
    }

    /// Takes the rest, for the container has ended.
    pub(super) fn finish(&mut self, log: &mut Writer) {
        self.pump(log);
        for mut source in self.0.drain(..) {
            let stream = source.stream;
            source.lines.finish(|line| drop(log.write(stream, line)));
        }
    }
}

impl Source {
    fn pump(&mut self, log: &mut Writer) -> bool {
        let mut buffer = [0; 8 * 1024];
        let mut taken = 0;
        while taken < MAX_TURN_BYTES {
            let count = match self.file.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                // A terminal whose other side is closed says EIO.
                Ok(0) | Err(_) => {
                    self.lines.finish(|line| drop(log.write(self.stream, line)));
                    return false;
                }
                Ok(count) => count,
            };
            taken += count;
            // A line that cannot be kept is lost: a full disk must not stop the container.
            self.lines
                .feed(&buffer[..count], |line| drop(log.write(self.stream, line)));
        }
        true
    }
}
