//! Makes the files of a layer, inside the layer's folder and nowhere else.
//!
//! Nobody else writes to the folder while it is unpacked, so a path that was resolved stays resolved.
//! Links on the way to an entry are followed as the container would follow them: an absolute target
//! starts at the layer's root, and `..` stops there. The entry itself is never followed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::tar::{Entry, Kind, Reader};
use super::{Bounds, broken};
use crate::engine::Error;
use crate::engine::error::Doing;
use crate::store::{Attributes, Files, Node};

/// Folders within folders; deeper trees are refused.
pub const MAX_DEPTH: usize = 128;

/// Links followed on the way to one entry.
const MAX_LINKS: usize = 40;

/// Linux's limit of a path.
const MAX_PATH_BYTES: usize = 4096;

/// What marks a name as removed, and a folder as hiding what lies below.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Who owns what is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// As the layer says; needs root.
    Kept,
    /// Whoever runs this program; attributes that need root are left out.
    Own,
}

/// A layer's folder being filled.
pub(super) struct Tree<'a> {
    root: &'a Path,
    files: &'a Files,
    left: Bounds,
    bounds: Bounds,
    ownership: Ownership,
    /// Set last, because adding to a folder changes its time.
    folders: Vec<(PathBuf, i64)>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(
        root: &'a Path,
        files: &'a Files,
        bounds: Bounds,
        ownership: Ownership,
    ) -> Self {
        Self {
            root,
            files,
            left: bounds,
            bounds,
            ownership,
            folders: Vec::new(),
        }
    }

    /// Makes one entry.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        content: &mut Reader<impl io::Read>,
    ) -> Result<(), Error> {
        self.left.entries = self
            .left
            .entries
            .checked_sub(1)
            .ok_or_else(|| too_much("files", self.bounds.entries))?;
        let path = relative(&entry.path)?;
        let Some(name) = path.file_name() else {
            // `./` is the root itself.
            return self.attributes(self.root, entry);
        };
        if is_in_dev(&path) && matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice) {
            // The engine makes `/dev` itself; images of old tools carry their own.
            return Ok(());
        }
        let name = name.to_owned();
        let folder = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        if name.as_bytes() == OPAQUE {
            return self.opaque(&folder);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(&folder, hidden);
        }
        self.make(&folder.join(&name), entry, content)
    }

    /// Sets what had to wait, and says how much there was.
    pub(super) fn finish(self) -> Result<Bounds, Error> {
        for (path, modified_s) in self.folders.iter().rev() {
            // A later entry may have put something else in the folder's place.
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
                let time = Attributes {
                    modified_s: Some(*modified_s),
                    ..Attributes::default()
                };
                self.files
                    .set_attributes(path, &time)
                    .doing("setting a folder's time")?;
            }
        }
        let entries = self.bounds.entries - self.left.entries;
        Ok(Bounds {
            entries,
            bytes: self.bounds.bytes - self.left.bytes,
        })
    }

    fn make(
        &mut self,
        path: &Path,
        entry: &Entry,
        content: &mut Reader<impl io::Read>,
    ) -> Result<(), Error> {
        let existing = fs::symlink_metadata(path).ok();
        let is_folder = existing.as_ref().is_some_and(fs::Metadata::is_dir);
        let stays = is_folder && entry.kind == Kind::Directory;
        if existing.is_some() && !stays {
            self.files.remove_tree(path).doing("replacing an entry")?;
        }
        match &entry.kind {
            Kind::Directory if stays => {}
            Kind::Directory => self
                .files
                .create_dir(path, 0o755)
                .doing("making a folder")?,
            Kind::Regular => self.regular(path, entry.size, content)?,
            Kind::Symlink(target) => {
                let target = Path::new(OsStr::from_bytes(bounded(target)?));
                self.files.symlink(target, path).doing("making a link")?;
            }
            Kind::HardLink(target) => return self.hard_link(target, path),
            Kind::Fifo => self.files.node(Node::Fifo, path).doing("making a pipe")?,
            Kind::CharacterDevice | Kind::BlockDevice => {
                let name = String::from_utf8_lossy(&entry.path).into_owned();
                return Err(Error::BadImage(format!(
                    "a layer holds the device node {name}"
                )));
            }
        }
        if entry.kind == Kind::Directory {
            self.folders.push((path.to_owned(), entry.modified_s));
        }
        self.attributes(path, entry)
    }

    fn regular(
        &mut self,
        path: &Path,
        size: u64,
        content: &mut Reader<impl io::Read>,
    ) -> Result<(), Error> {
        self.left.bytes = self
            .left
            .bytes
            .checked_sub(size)
            .ok_or_else(|| too_much("bytes", self.bounds.bytes))?;
        let mut file = self.files.create(path).doing("making a file")?;
        let mut buffer = [0; 16 * 1024];
        let mut left = size;
        while left > 0 {
            let most = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = io::Read::read(content, &mut buffer[..most]).map_err(broken)?;
            io::Write::write_all(&mut file, &buffer[..count]).doing("writing a file")?;
            left -= count as u64;
        }
        Ok(())
    }

    fn hard_link(&mut self, target: &[u8], path: &Path) -> Result<(), Error> {
        let target = relative(target)?;
        let missing = || {
            Error::BadImage(format!(
                "a hard link to {}, which is not there",
                target.display()
            ))
        };
        let name = target.file_name().ok_or_else(missing)?;
        let existing = self
            .resolve(target.parent().unwrap_or(Path::new("")))?
            .join(name);
        let metadata = fs::symlink_metadata(&existing).map_err(|_| missing())?;
        if metadata.is_dir() || existing == path {
            return Err(missing());
        }
        self.files
            .hard_link(&existing, path)
            .doing("making a hard link")
    }

    fn whiteout(&mut self, folder: &Path, hidden: &[u8]) -> Result<(), Error> {
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(Error::BadImage("a whiteout without a name".to_owned()));
        }
        if hidden.starts_with(b".wh.") {
            // AUFS's own bookkeeping (`.wh..wh.plnk`) means nothing to others.
            return Ok(());
        }
        let path = folder.join(OsStr::from_bytes(hidden));
        if fs::symlink_metadata(&path).is_ok() {
            self.files
                .remove_tree(&path)
                .doing("removing what a layer removes")?;
        }
        self.files
            .node(Node::Whiteout, &path)
            .doing("marking a name as removed")
    }

    fn opaque(&self, folder: &Path) -> Result<(), Error> {
        let attribute = match self.ownership {
            Ownership::Kept => "trusted.overlay.opaque",
            Ownership::Own => "user.overlay.opaque",
        };
        let extended = vec![(attribute.to_owned(), b"y".to_vec())];
        let attributes = Attributes {
            extended,
            ..Attributes::default()
        };
        self.files
            .set_attributes(folder, &attributes)
            .doing("marking a folder as opaque")
    }

    fn attributes(&self, path: &Path, entry: &Entry) -> Result<(), Error> {
        let is_link = matches!(entry.kind, Kind::Symlink(_));
        let own = self.ownership == Ownership::Own;
        let root_only = |name: &str| own && name.starts_with("security.");
        let extended = entry
            .extended
            .iter()
            .filter(|(name, _)| !is_link && !root_only(name))
            .cloned()
            .collect();
        let attributes = Attributes {
            owner: (!own).then_some((entry.user, entry.group)),
            mode: (!is_link).then_some(entry.mode),
            modified_s: Some(entry.modified_s),
            extended,
        };
        match self.files.set_attributes(path, &attributes) {
            // The store's file system has no such attributes; the file is right without them.
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) =>
            {
                Ok(())
            }
            done => done.doing("setting a file's attributes"),
        }
    }

    /// The folder that a path leads to from the root, made where it is missing.
    fn resolve(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let mut todo: Vec<PathBuf> = components(path);
        let mut folder = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name.as_os_str() == ".." {
                folder.pop();
                continue;
            }
            let next = self.root.join(&folder).join(&name);
            match fs::symlink_metadata(&next) {
                Ok(metadata) if metadata.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::BadImage(format!(
                            "{} leads through too many links",
                            path.display()
                        )));
                    }
                    let target = fs::read_link(&next).doing("reading a link")?;
                    if target.is_absolute() {
                        folder = PathBuf::new();
                    }
                    todo.extend(components(&target));
                }
                Ok(metadata) if metadata.is_dir() => folder.push(&name),
                Ok(_) => {
                    return Err(Error::BadImage(format!(
                        "{} leads through a file",
                        path.display()
                    )));
                }
                Err(_) => {
                    self.left.entries = self
                        .left
                        .entries
                        .checked_sub(1)
                        .ok_or_else(|| too_much("files", self.bounds.entries))?;
                    self.files
                        .create_dir(&next, 0o755)
                        .doing("making a folder")?;
                    folder.push(&name);
                }
            }
            if folder.components().count() > MAX_DEPTH {
                return Err(Error::BadImage(format!("folders over {MAX_DEPTH} deep")));
            }
        }
        Ok(self.root.join(folder))
    }
}

/// The parts of a path, last first; those that name nothing are left out.
fn components(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<PathBuf> = parts.collect();
    parts.reverse();
    parts
}

/// An entry's own path: from the layer's root, without `..`.
fn relative(path: &[u8]) -> Result<PathBuf, Error> {
    let path = Path::new(OsStr::from_bytes(bounded(path)?));
    if path
        .components()
        .any(|component| component == Component::ParentDir)
    {
        return Err(Error::BadImage(format!(
            "the path {} leads out of the layer",
            path.display()
        )));
    }
    let parts = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_)));
    Ok(parts.collect())
}

fn bounded(path: &[u8]) -> Result<&[u8], Error> {
    if path.len() > MAX_PATH_BYTES || path.contains(&0) || path.is_empty() {
        return Err(Error::BadImage(
            "a path that is empty, over 4096 bytes long, or holds a zero".to_owned(),
        ));
    }
    Ok(path)
}

fn is_in_dev(path: &Path) -> bool {
    path.starts_with("dev")
}

fn too_much(what: &str, bound: u64) -> Error {
    Error::BadImage(format!("over {bound} {what} in its layers"))
}
