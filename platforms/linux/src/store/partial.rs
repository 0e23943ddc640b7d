//! Layers on their way: a download that a cut interrupts goes on where it stopped.
//!
//! A partial file claims nothing. Its bytes count once the whole of it has the digest it is named by.

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::{Digest, File, Files, Store};

/// So many bytes are written before they are synced: what a cut can cost at most.
const SYNC_EVERY_BYTES: u64 = 4 * 1024 * 1024;

/// A download in progress.
#[derive(Debug)]
pub struct Partial {
    digest: Digest,
    path: PathBuf,
    file: File,
    files: Files,
    hasher: Sha256,
    length: u64,
    synced: u64,
}

impl Store {
    /// Opens the download of a blob, at the place where an earlier one stopped.
    pub fn partial(&self, digest: &Digest) -> io::Result<Partial> {
        let path = self.partial_path(digest);
        let file = self.files.append(&path)?;
        let (hasher, length) = hash_file(&path)?;
        let files = self.files.clone();
        Ok(Partial {
            digest: *digest,
            path,
            file,
            files,
            hasher,
            length,
            synced: length,
        })
    }

    /// The downloads that are there.
    pub(super) fn partials(&self) -> io::Result<Vec<Digest>> {
        Ok(self
            .names("partial")?
            .iter()
            .filter_map(|name| Digest::from_hex(name).ok())
            .collect())
    }

    pub(super) fn remove_partial(&self, digest: &Digest) -> io::Result<()> {
        self.files.remove_file(&self.partial_path(digest))
    }

    /// Bytes of a download that are already here.
    pub fn partial_length(&self, digest: &Digest) -> u64 {
        fs::metadata(self.partial_path(digest)).map_or(0, |metadata| metadata.len())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("partial").join(digest.to_hex())
    }
}

impl Partial {
    /// Bytes that are here.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        if self.length - self.synced >= SYNC_EVERY_BYTES {
            self.file.sync()?;
            self.synced = self.length;
        }
        Ok(())
    }

    /// Forgets what is here: the server has no ranges, or what came was not what the digest names.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.truncate(0)?;
        self.hasher = Sha256::new();
        self.length = 0;
        self.synced = 0;
        Ok(())
    }

    /// Whether the bytes so far are those that the digest names.
    pub fn is_whole(&self) -> bool {
        Digest::from_hasher(self.hasher.clone()) == self.digest
    }

    /// Opens the bytes for reading.
    pub fn reader(&self) -> io::Result<fs::File> {
        fs::File::open(&self.path)
    }

    /// Removes the download: it was used, or it was wrong.
    pub fn remove(self) -> io::Result<()> {
        self.forget()
    }

    /// Removes the download while it is still open.
    pub fn forget(&self) -> io::Result<()> {
        self.files.remove_file(&self.path)
    }
}

fn hash_file(path: &std::path::Path) -> io::Result<(Sha256, u64)> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hasher, length));
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
    }
}
