//! Terminals and pseudo-terminals as ports, on tokio.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use embedded_io_async::{ErrorType, Read, Write};
use rustix::fs::OFlags;
use rustix::termios::{self, OptionalActions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A terminal in raw mode.
#[derive(Debug)]
pub struct Tty(AsyncFd<File>);

impl Tty {
    /// Opens a terminal and sets its speed, in baud; a pseudo-terminal takes any.
    ///
    /// # Errors
    ///
    /// What the system says, also when `path` is no terminal.
    pub fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        let mut settings = termios::tcgetattr(&file)?;
        settings.make_raw();
        settings.set_speed(baud)?;
        termios::tcsetattr(&file, OptionalActions::Now, &settings)?;
        Self::new(file)
    }

    /// A terminal that is open, does not block, and is set as it should be; the controlling end of a pseudo-terminal, for one.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be waited for.
    #[expect(
        deprecated,
        reason = "a file keeps its descriptor, and nothing here swaps the file; the other constructor is unsafe"
    )]
    pub fn new(file: File) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(file.as_fd())?;
        rustix::fs::fcntl_setfl(file.as_fd(), flags | OFlags::NONBLOCK)?;
        AsyncFd::new(file).map(Self)
    }
}

impl ErrorType for Tty {
    type Error = io::Error;
}

impl Read for Tty {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = |mut file: &File| file.read(into);
        let mut read = read;
        self.0.async_io(Interest::READABLE, |file| read(file)).await
    }
}

impl Write for Tty {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = |mut file: &File| file.write(bytes);
        self.0
            .async_io(Interest::WRITABLE, |file| write(file))
            .await
    }

    async fn flush(&mut self) -> io::Result<()> {
        // What was written is the driver's; waiting for it to leave the wire would block.
        Ok(())
    }
}
