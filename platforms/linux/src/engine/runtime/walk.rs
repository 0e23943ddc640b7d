//! Finds a place inside a container's root, however its links lie.
//!
//! Images and volumes choose their own links, and another container may change a volume's meanwhile;
//! so a path is walked name by name through open folders, and a link leads as it would inside.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

const MAX_LINKS: usize = 40;

/// What to make when the last name is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// A folder.
    Folder,
    /// An empty file.
    File,
}

/// An open place; [`path`](Self::path) names it for calls that want a path.
#[derive(Debug)]
pub(crate) struct Place(OwnedFd);

impl Place {
    /// A path that leads to exactly this place, in this process, without walking anything again.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Finds `path` below `root`, and makes what is missing of it.
pub(crate) fn place(root: &Path, path: &str, make: Make) -> io::Result<Place> {
    let mut todo = names(Path::new(path));
    let mut stack = vec![open_root(root)?];
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let folder = stack.last().expect("the root is never popped");
        let what = if todo.is_empty() { make } else { Make::Folder };
        let next = open_or_make(folder, &name, what)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode);
        if kind == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes();
            let target = PathBuf::from(OsString::from_vec(target));
            if target.is_absolute() {
                stack.truncate(1);
            }
            todo.extend(names(&target));
            continue;
        }
        stack.push(next);
    }
    let place = stack.pop().expect("the root is never popped");
    let is_folder =
        FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) == FileType::Directory;
    if is_folder != (make == Make::Folder) {
        return Err(if is_folder {
            Errno::ISDIR
        } else {
            Errno::NOTDIR
        }
        .into());
    }
    Ok(Place(place))
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(root, flags, Mode::empty())?)
}

fn open_or_make(folder: &OwnedFd, name: &OsString, make: Make) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        found => return Ok(found?),
    }
    match make {
        Make::Folder => rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755))?,
        Make::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(
                folder,
                name,
                flags,
                Mode::from_raw_mode(0o644),
            )?);
        }
    }
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

/// The names of a path, last first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_inside_and_missing_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("srv")).unwrap();
        symlink("/srv", root.join("data")).unwrap();
        symlink("../../../..", root.join("up")).unwrap();
        for (path, lands) in [
            ("/data/x/y", "srv/x/y"),
            ("up/etc", "etc"),
            ("/../../z", "z"),
        ] {
            let place = place(&root, path, Make::Folder).unwrap();
            fs::write(place.path().join("mark"), path).unwrap();
            assert_eq!(
                fs::read_to_string(root.join(lands).join("mark")).unwrap(),
                path
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_circle_and_a_file_in_the_way_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(place(folder.path(), "a/x", Make::Folder).is_err());
        assert!(place(folder.path(), "file/x", Make::Folder).is_err());
        assert!(place(folder.path(), "file", Make::Folder).is_err());
        assert!(place(folder.path(), "file", Make::File).is_ok());
    }
}
