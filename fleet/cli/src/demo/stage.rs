//! Where the demo keeps everything, and how it leaves nothing behind.
//!
//! All files are in one folder, all cgroups below one name. The folder is locked while its demo lives;
//! a demo that finds an unlocked one clears it away, so that even SIGKILL leaves nothing for longer than until the next run.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::failure::{Code, Failure};

/// Looks at a cgroup that is still busy, and the time between two.
const LOOKS: u32 = 100;
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

const PREFIX: &str = "lightship-demo-";

/// A folder of the demo's own; removed when this is dropped.
pub(crate) struct Stage {
    folder: PathBuf,
    name: String,
    _lock: File,
}

impl Stage {
    /// Clears away what killed demos left, and makes a folder.
    pub(crate) fn open() -> Result<Self, Failure> {
        let parent = std::env::temp_dir();
        clear_leftovers(&parent);
        let name = format!("{PREFIX}{}", std::process::id());
        let folder = parent.join(&name);
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| Failure::file(&folder, &error).help(ROOM))?;
        if let Err(failure) = has_room(&folder) {
            let _ = fs::remove_dir(&folder);
            return Err(failure);
        }
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(|error| Failure::file(&path, &error).help(ROOM))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Failure::file(&path, &error.into()))?;
        Ok(Self {
            folder,
            name,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What cgroups of this demo are below.
    pub(super) fn cgroup(&self) -> &str {
        &self.name
    }

    /// Writes a file, and the folders that it lies in.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.folder);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes));
        written.map_err(|error| Failure::file(&path, &error).help(ROOM))?;
        Ok(path)
    }
}

/// What a whole run writes at most, and some more.
const ROOM_BYTES: u64 = 200_000_000;

fn has_room(folder: &Path) -> Result<(), Failure> {
    // What cannot be asked is found out later.
    let free = rustix::fs::statvfs(folder).map_or(u64::MAX, |stat| stat.f_bavail * stat.f_frsize);
    if free >= ROOM_BYTES {
        return Ok(());
    }
    let message = format!(
        "{}: only {} MB are free",
        folder.display(),
        free / 1_000_000
    );
    Err(Failure::new(Code::Failed, message).help(ROOM))
}

const ROOM: &str = "the demo needs some 200 MB for a while; TMPDIR names another place";

impl Drop for Stage {
    fn drop(&mut self) {
        remove(&self.folder, &self.name);
    }
}

fn clear_leftovers(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let lock = File::open(entry.path().join("lock"));
        let is_free = lock.is_ok_and(|lock| {
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        });
        if is_free {
            remove(&entry.path(), name);
        }
    }
}

/// What cannot be removed now, the next demo finds again.
fn remove(folder: &Path, name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root).into_iter().flatten().flatten();
    for place in controllers
        .map(|entry| entry.path())
        .chain([root.to_owned()])
    {
        remove_cgroups(&place.join(name));
    }
    if fs::remove_dir_all(folder).is_err() {
        open_up(folder);
        let _ = fs::remove_dir_all(folder);
    }
}

/// Makes folders readable for their owner: what an overlay works in is not.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        open_up(&entry.path());
    }
}

/// A cgroup is removed from its leaves up; its files are the kernel's.
fn remove_cgroups(group: &Path) {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_cgroups(&entry.path());
    }
    for _ in 0..LOOKS {
        match fs::remove_dir(group) {
            // The kernel buries the processes that were in it a little later.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(LOOK)
            }
            Ok(()) | Err(_) => return,
        }
    }
}

/// The failure of something that should have been possible.
pub(super) fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Failed, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_demo_left_is_cleared_away_and_a_living_ones_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let place = |name: &str| parent.path().join(format!("{PREFIX}{name}"));
        for name in ["dead", "alive"] {
            fs::create_dir(place(name)).unwrap();
            File::create(place(name).join("lock")).unwrap();
        }
        let alive = File::open(place("alive").join("lock")).unwrap();
        rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive).unwrap();
        clear_leftovers(parent.path());
        assert!(!place("dead").exists());
        assert!(place("alive").exists());
    }
}
