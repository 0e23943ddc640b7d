//! What the daemon noted, on the disk like what a container prints, so that the fleet can be told later.

use std::path::Path;

use lightship_core::Note;

use crate::engine::runtime::{LogWriter, Stream};

/// The service under which the fleet keeps it.
pub(super) const SERVICE: &str = "lightshipd";
/// Bytes that it takes on the disk.
const BYTES: u64 = 256 * 1024;

/// The daemon's own log.
pub(super) struct Journal(Option<LogWriter>);

impl Journal {
    /// Opens it in the folder of the logs. Without it there are no notes for the fleet, and everything else goes on.
    pub(super) fn open(logs: &Path) -> Self {
        let writer = LogWriter::open(&logs.join(SERVICE), BYTES);
        Self(writer.map_or_else(
            |error| {
                tracing::warn!(%error, "notes are not kept for the fleet");
                None
            },
            Some,
        ))
    }

    pub(super) fn write(&mut self, note: &Note) {
        let Some(writer) = &mut self.0 else {
            return;
        };
        // A full disk costs lines, never the daemon.
        let _ = writer.write(Stream::Out, format!("{note:?}").as_bytes());
    }
}
