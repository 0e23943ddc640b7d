//! What the daemon noted, on the disk like what a container prints, so that the fleet can be told later.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lightship_core::Note;

use crate::engine::runtime::{LogWriter, Stream};

/// The service under which the fleet keeps it.
pub(super) const SERVICE: &str = "lightshipd";
/// Bytes that it takes on the disk.
const BYTES: u64 = 256 * 1024;

/// The daemon's own log. Clones are handles of the same one.
#[derive(Clone)]
pub(super) struct Journal(Option<Arc<Mutex<LogWriter>>>);

impl Journal {
    /// Opens it in the folder of the logs. Without it there are no notes for the fleet, and everything else goes on.
    pub(super) fn open(logs: &Path) -> Self {
        let writer = LogWriter::open(&logs.join(SERVICE), BYTES);
        Self(writer.map_or_else(
            |error| {
                tracing::warn!(%error, "notes are not kept for the fleet");
                None
            },
            |writer| Some(Arc::new(Mutex::new(writer))),
        ))
    }

    pub(super) fn note(&self, note: &Note) {
        self.write(&format!("{note:?}"));
    }

    /// One line for people.
    pub(super) fn write(&self, line: &str) {
        let Some(writer) = &self.0 else {
            return;
        };
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk costs lines, never the daemon.
        let _ = writer.write(Stream::Out, line.as_bytes());
    }
}
