//! Everything that the daemon keeps on disk, and the only code that writes there.
//!
//! Power may go between any two file operations (design.md section 1, invariant 2), so every write,
//! sync, rename and removal goes through [`Files`], where a test can cut at any of them.
//! What must stay true: a name in `blobs`, `layers` or `instances` stands for something whole,
//! because it appears there by a rename of something that was written and synced elsewhere.

mod blob;
mod collect;
mod digest;
mod files;
mod instance;
mod layer;
mod partial;
mod space;

pub use collect::{Collected, Keep};
pub use digest::{Digest, DigestError};
pub use files::{Attributes, File, Files, Node, Operation, Witness};
pub use instance::{InstanceId, Record};
pub use layer::LayerDraft;
pub use partial::Partial;
pub use space::{RESERVE_BYTES, is_read_only};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folders of a store, in the order in which they are made.
const FOLDERS: [&str; 7] = [
    "blobs",
    "partial",
    "layers",
    "instances",
    "volumes",
    "tmp",
    "trash",
];

/// A content-addressed store of images, and of the instances made from them.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    files: Files,
    drafts: Arc<AtomicU64>,
}

impl Store {
    /// Opens the store at `root`, makes it if it is not there, and clears what a cut left half-done.
    ///
    /// On a disk that became read-only what is there can still be used, and the rest waits.
    ///
    /// One process at a time: the caller holds a lock on the device's state before it opens one.
    pub fn open(root: &Path, files: Files) -> io::Result<Self> {
        if !root.is_dir() {
            files.create_dir_all(root, 0o700)?;
        }
        for folder in FOLDERS {
            let path = root.join(folder);
            if !path.is_dir() {
                files.create_dir(&path, 0o700)?;
            }
        }
        unless_read_only(files.sync_dir(root))?;
        let store = Self {
            root: root.to_owned(),
            files,
            drafts: Arc::default(),
        };
        store.clear("tmp")?;
        store.clear("trash")?;
        Ok(store)
    }

    /// The folder that the store owns.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file operations that the store uses.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Where a named volume of an application lies.
    pub fn volume(&self, application: &str, name: &str) -> PathBuf {
        self.root.join("volumes").join(application).join(name)
    }

    /// A name in `tmp` that nothing else of this process uses.
    fn draft(&self, stem: &str) -> PathBuf {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{stem}-{number}"))
    }

    /// Takes a file or folder out of sight in one step, then removes it.
    fn discard(&self, path: &Path) -> io::Result<()> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let trash = self.root.join("trash").join(number.to_string());
        self.files.rename(path, &trash)?;
        // Both folders: what comes back after a cut may need things that are removed next.
        self.files.sync_dir(&self.root.join("trash"))?;
        if let Some(parent) = path.parent() {
            self.files.sync_dir(parent)?;
        }
        self.files.remove_tree(&trash)
    }

    fn clear(&self, folder: &str) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(folder))? {
            unless_read_only(self.files.remove_tree(&entry?.path()))?;
        }
        Ok(())
    }

    /// The names in a folder of the store.
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(folder))? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn unless_read_only(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        done => done,
    }
}
