//! Small blobs held whole: manifests, image configurations, specs and settings.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use super::{Digest, Store};

/// The largest blob that is held: an image manifest of the distribution specification's 4 MiB.
pub(super) const MAX_BLOB_BYTES: u64 = 4 * 1024 * 1024;

impl Store {
    /// Reads a blob. One whose bytes no longer match its name is removed and reported as absent,
    /// so that it is fetched again.
    pub fn read_blob(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        let path = self.blob_path(digest);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BLOB_BYTES + 1).read_to_end(&mut bytes)?;
        if Digest::of(&bytes) != *digest {
            tracing::warn!(%digest, "a stored blob is corrupt and will be fetched again");
            self.files.remove_file(&path)?;
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// Keeps a blob under the name of its digest.
    pub fn write_blob(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        if self.read_blob(&digest)?.is_none() {
            self.files
                .replace(&self.blob_path(&digest), &self.draft("blob"), bytes)?;
        }
        Ok(digest)
    }

    /// The blobs that are there.
    pub(super) fn blobs(&self) -> io::Result<Vec<Digest>> {
        Ok(self
            .names("blobs")?
            .iter()
            .filter_map(|name| Digest::from_hex(name).ok())
            .collect())
    }

    pub(super) fn remove_blob(&self, digest: &Digest) -> io::Result<()> {
        self.files.remove_file(&self.blob_path(digest))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.to_hex())
    }
}
