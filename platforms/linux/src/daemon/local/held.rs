//! Which lock files hold.
//!
//! A service's own `updates.lock` holds while a process has a lock (flock(2), fcntl(2)) on it; that it is
//! there means nothing. balena's hold while they are there, as applications written for it expect; but
//! one that was locked with flock(2) holds only as long as that.

use std::fs;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// In the folder of its own.
const OWN: [&str; 1] = ["updates.lock"];
/// In balena's folders, which are one.
const BALENA: [&str; 2] = ["updates.lock", "resin-updates.lock"];

/// A file, as far as it matters whether it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// What was found of a service's lock files.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Whether one of them holds.
    pub(super) holds: bool,
    /// Those that are there, so that what a dead process left can be told from what is new.
    pub(super) there: Vec<(PathBuf, Mark)>,
    /// Those of balena's that are locked with flock(2).
    pub(super) locked: Vec<PathBuf>,
}

/// Looks at the files of a service. `were_locked` were locked with flock(2) when they were looked at before.
pub(super) fn look(folders: &[PathBuf; 2], table: &str, were_locked: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let [own, balena] = folders;
    for path in OWN.map(|name| own.join(name)) {
        if let Some(mark) = mark(&path) {
            found.holds |= is_locked(mark, table);
            found.there.push((path, mark));
        }
    }
    for path in BALENA.map(|name| balena.join(name)) {
        let Some(mark) = mark(&path) else { continue };
        let locked = is_locked(mark, table);
        found.holds |= locked || !were_locked.contains(&path);
        if locked || were_locked.contains(&path) {
            found.locked.push(path.clone());
        }
        found.there.push((path, mark));
    }
    found
}

/// The kernel's table of file locks (proc_locks(5)).
pub(super) fn table() -> String {
    fs::read_to_string("/proc/locks").unwrap_or_default()
}

/// The file itself, not what a link names: the folder is the service's.
fn mark(path: &Path) -> Option<Mark> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some(Mark {
        device: metadata.st_dev(),
        inode: metadata.st_ino(),
        changed: (metadata.st_ctime(), metadata.st_ctime_nsec()),
    })
}

fn is_locked(mark: Mark, table: &str) -> bool {
    let (major, minor) = (
        rustix::fs::major(mark.device),
        rustix::fs::minor(mark.device),
    );
    table.lines().filter_map(holder).any(|(device, inode)| {
        // Some file systems show another device to stat(2) than to the table; they have no major number.
        inode == mark.inode && (device == (major, minor) || major == 0)
    })
}

/// Device and inode of a line `1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF`; one that waits has an arrow.
fn holder(line: &str) -> Option<((u32, u32), u64)> {
    let mut words = line.split_whitespace().skip(1);
    let kind = words.next()?;
    if kind == "->" {
        return None;
    }
    let mut file = words.nth(3)?.split(':');
    let device = (
        u32::from_str_radix(file.next()?, 16).ok()?,
        u32::from_str_radix(file.next()?, 16).ok()?,
    );
    Some((device, file.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, flock};

    use super::*;

    fn folders(at: &Path) -> [PathBuf; 2] {
        let folders = [at.join("own"), at.join("balena")];
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        folders
    }

    #[test]
    fn its_own_file_holds_while_it_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let folders = folders(folder.path());
        assert!(!look(&folders, &table(), &[]).holds);
        let file = fs::File::create(folders[0].join("updates.lock")).unwrap();
        assert!(!look(&folders, &table(), &[]).holds);
        flock(&file, FlockOperation::LockExclusive).unwrap();
        assert!(look(&folders, &table(), &[]).holds);
        drop(file);
        assert!(!look(&folders, &table(), &[]).holds);
    }

    #[test]
    fn balenas_file_holds_while_it_is_there_and_when_it_was_locked_while_it_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let folders = folders(folder.path());
        for name in BALENA {
            let path = folders[1].join(name);
            let file = fs::File::create(&path).unwrap();
            assert!(look(&folders, &table(), &[]).holds);
            flock(&file, FlockOperation::LockShared).unwrap();
            let found = look(&folders, &table(), &[]);
            assert!(found.holds && found.locked == [path.clone()]);
            drop(file);
            let found = look(&folders, &table(), &found.locked);
            assert!(!found.holds && found.locked == [path.clone()]);
            fs::remove_file(path).unwrap();
            assert!(!look(&folders, &table(), &[]).holds);
        }
    }

    #[test]
    fn lines_of_the_table_are_read_and_those_that_wait_are_not() {
        let line = "7: FLOCK  ADVISORY  WRITE 812 fe:00:131 0 EOF";
        assert_eq!(holder(line), Some(((0xfe, 0), 131)));
        assert_eq!(
            holder("7: -> FLOCK  ADVISORY  WRITE 812 fe:00:131 0 EOF"),
            None
        );
        assert_eq!(holder(""), None);
    }
}
