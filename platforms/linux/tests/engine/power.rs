//! A disk whose power can go at any file operation.
//!
//! The cut is modelled in four ways: nothing of the operation happened, the first half of a write did,
//! nothing since the last sync did, and each second thing since the last sync did.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lightshipd::store::{Operation, Witness};

/// What a cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All that was done stays.
    Nothing,
    /// All that was done stays, and half of the write that was cut.
    TornWrite,
    /// What was not synced is gone.
    Unsynced,
    /// Each second thing that was not synced is gone.
    SomeUnsynced,
}

pub(crate) const LOSSES: [Loss; 4] = [
    Loss::Nothing,
    Loss::TornWrite,
    Loss::Unsynced,
    Loss::SomeUnsynced,
];

/// How to undo one thing.
enum Undo {
    Remove(PathBuf),
    Truncate {
        path: PathBuf,
        file: fs::File,
        length: u64,
    },
    Restore {
        path: PathBuf,
        content: Vec<u8>,
    },
    RenameBack {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<Vec<u8>>,
    },
    CreateDir(PathBuf),
}

#[derive(Default)]
struct Journal {
    count: usize,
    pending: Vec<Undo>,
    dead: bool,
}

/// Counts operations and cuts at one of them.
pub(crate) struct Power {
    cut_at: Option<usize>,
    loss: Loss,
    journal: Mutex<Journal>,
}

impl Power {
    pub(crate) fn new(cut_at: Option<usize>, loss: Loss) -> Arc<Self> {
        Arc::new(Self {
            cut_at,
            loss,
            journal: Mutex::default(),
        })
    }

    /// Operations so far.
    pub(crate) fn count(&self) -> usize {
        self.journal.lock().unwrap().count
    }

    /// Whether the cut came.
    pub(crate) fn is_cut(&self) -> bool {
        self.journal.lock().unwrap().dead
    }
}

impl Witness for Power {
    fn before(&self, operation: Operation<'_>) -> io::Result<()> {
        let mut journal = self.journal.lock().unwrap();
        if journal.dead {
            return Err(cut());
        }
        journal.count += 1;
        if Some(journal.count) == self.cut_at {
            journal.dead = true;
            match self.loss {
                Loss::Nothing => {}
                Loss::TornWrite => tear(operation),
                Loss::Unsynced => undo(&mut journal.pending, |_| true),
                Loss::SomeUnsynced => undo(&mut journal.pending, |at| at % 2 == 0),
            }
            return Err(cut());
        }
        if matches!(self.loss, Loss::Unsynced | Loss::SomeUnsynced) {
            note(&mut journal.pending, operation);
        }
        Ok(())
    }
}

fn cut() -> io::Error {
    io::Error::other("the power is gone")
}

fn tear(operation: Operation<'_>) {
    if let Operation::Write { path, bytes } = operation {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&bytes[..bytes.len() / 2]).unwrap();
    }
}

fn note(pending: &mut Vec<Undo>, operation: Operation<'_>) {
    match operation {
        Operation::SyncTree(_) => pending.clear(),
        Operation::SyncFile(path) => pending.retain(|undo| !holds_data_of(undo, path)),
        Operation::SyncDir(path) => pending.retain(|undo| !is_name_in(undo, path)),
        Operation::Create(path)
        | Operation::CreateDir(path)
        | Operation::Symlink { path, .. }
        | Operation::HardLink { path, .. }
        | Operation::Node(path) => pending.push(Undo::Remove(path.to_owned())),
        Operation::Open(path) if !path.exists() => pending.push(Undo::Remove(path.to_owned())),
        Operation::Open(_) | Operation::Attributes(_) => {}
        Operation::Write { path, .. } => {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            pending.push(Undo::Truncate {
                path: path.to_owned(),
                file,
                length,
            });
        }
        Operation::Truncate { path, .. } | Operation::RemoveFile(path) => {
            pending.extend(content(path).map(|content| Undo::Restore {
                path: path.to_owned(),
                content,
            }));
        }
        Operation::RemoveDir(path) => pending.push(Undo::CreateDir(path.to_owned())),
        Operation::Rename { from, to } => {
            let replaced = content(to);
            pending.push(Undo::RenameBack {
                from: from.to_owned(),
                to: to.to_owned(),
                replaced,
            });
        }
    }
}

fn content(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let plain = metadata.is_file() && !metadata.file_type().is_fifo();
    plain.then(|| fs::read(path).unwrap())
}

fn holds_data_of(undo: &Undo, synced: &Path) -> bool {
    match undo {
        Undo::Truncate { path, .. } => path == synced,
        Undo::Remove(_) | Undo::Restore { .. } | Undo::RenameBack { .. } | Undo::CreateDir(_) => {
            false
        }
    }
}

fn is_name_in(undo: &Undo, synced: &Path) -> bool {
    match undo {
        Undo::Remove(path) | Undo::CreateDir(path) | Undo::Restore { path, .. } => {
            path.parent() == Some(synced)
        }
        Undo::RenameBack { to, .. } => to.parent() == Some(synced),
        Undo::Truncate { .. } => false,
    }
}

/// Undoes what was not synced, last first. What can no longer be undone was undone with its folder.
fn undo(pending: &mut Vec<Undo>, chosen: impl Fn(usize) -> bool) {
    for (at, undo) in pending.drain(..).enumerate().rev() {
        if !chosen(at) {
            continue;
        }
        let _ = match undo {
            Undo::Remove(path) if path.is_dir() && !path.is_symlink() => fs::remove_dir_all(path),
            Undo::Remove(path) => fs::remove_file(path),
            Undo::Truncate { file, length, .. } => file.set_len(length),
            Undo::Restore { path, content } => fs::write(path, content),
            Undo::CreateDir(path) => fs::create_dir(path),
            Undo::RenameBack { from, to, replaced } => {
                let back = fs::rename(&to, &from);
                replaced.map_or(back, |content| fs::write(&to, content))
            }
        };
    }
}
