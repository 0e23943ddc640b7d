//! Free space, asked for before anything large is written.

use std::io;
use std::path::Path;

use super::Store;

/// Kept free for records, logs and the system itself when an image is fetched.
pub const RESERVE_BYTES: u64 = 32 * 1024 * 1024;

impl Store {
    /// Bytes that may still be written, the reserve already taken off.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let volume = rustix::fs::statvfs(&self.root)?;
        Ok((volume.f_bavail * volume.f_frsize).saturating_sub(RESERVE_BYTES))
    }
}

/// Whether nothing can be written at a path; what cannot be looked at counts as writable, and says so when it is written to.
pub fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|found| found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}
