//! Pseudo-terminals, joined by a way on which bytes get lost.

use std::fs::File;
use std::path::Path;

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use lightship_link::suite::Way;
use lightship_serial::tty::Tty;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A pseudo-terminal: the controlling end, and the terminal as a daemon opens it; none where the system has none, after saying so.
pub(crate) fn terminal() -> Option<(File, Tty)> {
    let Ok(control) = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY) else {
        eprintln!("SKIPPED: there are no pseudo-terminals here");
        return None;
    };
    grantpt(&control).unwrap();
    unlockpt(&control).unwrap();
    let name = ptsname(&control, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    let terminal = Tty::open(Path::new(&name), 115_200).unwrap();
    Some((File::from(control), terminal))
}

/// Two terminals with a cable between them, each end of which is the controlling end of one.
pub(crate) fn cable() -> Option<(Way, Tty, Tty)> {
    let (way, near, far) = Way::line();
    let ((near_end, device), (far_end, shore)) = (terminal()?, terminal()?);
    plug(near_end, near);
    plug(far_end, far);
    Some((way, device, shore))
}

/// Carries what a terminal says into the line, and what the line says into the terminal.
fn plug(control: File, line: tokio::io::DuplexStream) {
    let (from_line, to_line) = tokio::io::split(line);
    let (reader, writer) = (control.try_clone().unwrap(), control);
    let reader = Tty::new(reader).unwrap();
    tokio::task::spawn_local(carry(reader, FromTokio::new(to_line)));
    let writer = Tty::new(writer).unwrap();
    tokio::task::spawn_local(carry(FromTokio::new(from_line), writer));
}

/// Ends when the test does: either end is closed then.
async fn carry(mut from: impl Read, mut to: impl Write) {
    let mut bytes = [0; 256];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        if to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}
