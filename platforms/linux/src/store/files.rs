//! The file-operation layer: every change of the disk is one [`Operation`] that a witness sees first.
//!
//! In the product there is no witness. In a test it counts, cuts (from then on every operation fails,
//! as after the power went), tears a write, or fails one with `ENOSPC` or `EROFS`.
//! Reading is no operation: a cut cannot fall within it.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

/// One change of the disk, about to happen.
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "each variant is named after the call whose arguments it carries"
)]
pub enum Operation<'a> {
    CreateDir(&'a Path),
    Create(&'a Path),
    Open(&'a Path),
    Write { path: &'a Path, bytes: &'a [u8] },
    Truncate { path: &'a Path, length: u64 },
    SyncFile(&'a Path),
    SyncDir(&'a Path),
    SyncTree(&'a Path),
    Rename { from: &'a Path, to: &'a Path },
    RemoveFile(&'a Path),
    RemoveDir(&'a Path),
    Symlink { target: &'a Path, path: &'a Path },
    HardLink { existing: &'a Path, path: &'a Path },
    Node(&'a Path),
    Attributes(&'a Path),
}

/// Sees every operation before it happens and may forbid it.
pub trait Witness: Send + Sync {
    /// An error is what the caller of the operation gets, and the operation does not happen.
    fn before(&self, operation: Operation<'_>) -> io::Result<()>;
}

/// What is set on a file beside its content.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// Owner and group; absent leaves them as they are.
    pub owner: Option<(u32, u32)>,
    /// Permission bits; absent leaves them, as for a symbolic link.
    pub mode: Option<u32>,
    /// Seconds since 1970 of the last modification.
    pub modified_s: Option<i64>,
    /// Extended attributes.
    pub extended: Vec<(String, Vec<u8>)>,
}

/// A file that is neither regular, nor a folder, nor a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// What overlayfs takes for "removed": the character device 0:0.
    Whiteout,
}

/// Every change of the disk.
#[derive(Clone, Default)]
pub struct Files {
    witness: Option<Arc<dyn Witness>>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("witnessed", &self.witness.is_some())
            .finish()
    }
}

impl Files {
    /// File operations that `witness` sees first.
    pub fn witnessed(witness: Arc<dyn Witness>) -> Self {
        Self {
            witness: Some(witness),
        }
    }

    /// Makes one folder with these permission bits.
    pub fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.ask(Operation::CreateDir(path))?;
        fs::DirBuilder::new().mode(mode).create(path)
    }

    /// Makes a folder and those above it that are missing.
    pub fn create_dir_all(&self, path: &Path, mode: u32) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.create_dir_all(parent, mode)?;
            self.create_dir(path, mode)?;
            return self.sync_dir(parent);
        }
        self.create_dir(path, mode)
    }

    /// Makes a new file; it is an error if the name is taken, by a link too.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        self.ask(Operation::Create(path))?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(File {
            file,
            path: path.to_owned(),
            files: self.clone(),
        })
    }

    /// Opens an existing file, or a new one, to write at its end.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        self.ask(Operation::Open(path))?;
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Ok(File {
            file,
            path: path.to_owned(),
            files: self.clone(),
        })
    }

    /// Makes what was written to a folder's list of names last.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.ask(Operation::SyncDir(path))?;
        fs::File::open(path)?.sync_all()
    }

    /// Makes everything below a folder last, in one call for the whole file system.
    pub fn sync_tree(&self, path: &Path) -> io::Result<()> {
        self.ask(Operation::SyncTree(path))?;
        rustix::fs::syncfs(fs::File::open(path)?.as_fd())?;
        Ok(())
    }

    /// Gives a file or folder another name on the same file system, replacing a file of that name.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Operation::Rename { from, to })?;
        fs::rename(from, to)
    }

    /// Removes a file, a link or a node.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.ask(Operation::RemoveFile(path))?;
        fs::remove_file(path)
    }

    /// Removes a file or a folder with everything below it; links are not followed.
    ///
    /// The stack of open folders is as deep as the tree, which `unpack` bounds.
    pub fn remove_tree(&self, path: &Path) -> io::Result<()> {
        if !fs::symlink_metadata(path)?.is_dir() {
            return self.remove_file(path);
        }
        for entry in fs::read_dir(path)? {
            self.remove_tree(&entry?.path())?;
        }
        self.ask(Operation::RemoveDir(path))?;
        fs::remove_dir(path)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.ask(Operation::Symlink { target, path })?;
        std::os::unix::fs::symlink(target, path)
    }

    /// Gives an existing file one more name; a symbolic link is linked itself, not what it names.
    pub fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        self.ask(Operation::HardLink { existing, path })?;
        rustix::fs::linkat(CWD, existing, CWD, path, AtFlags::empty())?;
        Ok(())
    }

    /// Makes a node.
    pub fn node(&self, node: Node, path: &Path) -> io::Result<()> {
        self.ask(Operation::Node(path))?;
        let kind = match node {
            Node::Fifo => FileType::Fifo,
            Node::Whiteout => FileType::CharacterDevice,
        };
        rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), 0)?;
        Ok(())
    }

    /// Sets a file's owner, extended attributes, permission bits and time, in the order that keeps each.
    pub fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        self.ask(Operation::Attributes(path))?;
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((user, group)) = attributes.owner {
            let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            rustix::fs::chownat(CWD, path, owner.0, owner.1, no_follow)?;
        }
        for (name, value) in &attributes.extended {
            rustix::fs::lsetxattr(path, name.as_str(), value, XattrFlags::empty())?;
        }
        if let Some(mode) = attributes.mode {
            rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        if let Some(seconds) = attributes.modified_s {
            let time = Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::utimensat(CWD, path, &times, no_follow)?;
        }
        Ok(())
    }

    /// Puts a whole new content under a name: after a cut it has the old content or the new.
    ///
    /// `draft` is a name on the same file system that a cut, or a full disk, may leave behind; the next call removes it.
    pub fn replace(&self, path: &Path, draft: &Path, bytes: &[u8]) -> io::Result<()> {
        if fs::symlink_metadata(draft).is_ok() {
            self.remove_file(draft)?;
        }
        let mut file = self.create(draft)?;
        file.write_all(bytes)?;
        file.sync()?;
        self.rename(draft, path)?;
        match path.parent() {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn ask(&self, operation: Operation<'_>) -> io::Result<()> {
        match &self.witness {
            Some(witness) => witness.before(operation),
            None => Ok(()),
        }
    }
}

/// A file that is open for writing.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    path: PathBuf,
    files: Files,
}

impl File {
    /// Makes what was written last.
    pub fn sync(&self) -> io::Result<()> {
        self.files.ask(Operation::SyncFile(&self.path))?;
        self.file.sync_all()
    }

    /// Cuts the file off at a length.
    pub fn truncate(&self, length: u64) -> io::Result<()> {
        self.files.ask(Operation::Truncate {
            path: &self.path,
            length,
        })?;
        self.file.set_len(length)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.ask(Operation::Write {
            path: &self.path,
            bytes,
        })?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
