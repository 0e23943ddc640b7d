//! A project folder as one file: packed where it was written, unpacked where it is built.
//!
//! Whoever unpacks does not trust the archive. Nothing is written outside of the folder, and nothing that
//! was unpacked leads out of it: links are relative, climb before they descend, and are never written
//! through. What is unpacked is bounded in entries, bytes and depth; devices, hard links and everything
//! else that a project does not consist of are refused.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::EntryType;

use crate::context::Context;
use crate::error::{At, BuildError};
use crate::guard::{Cancel, Guard, Limits};
use crate::ignore::Ignore;
use crate::layer;

/// What is not packed: history, and what builds on this machine leave behind.
const LEFT_OUT: &str = ".git\n.lightship\n";
/// Bytes of a path, as systems have it.
const PATH_BYTES: u64 = 4096;
/// Folders within folders.
const DEPTH: usize = 64;
/// What an entry costs beside its content: header, padding, a long name with its own header and padding.
const ENTRY_BYTES: u64 = 3 * 512 + PATH_BYTES;

/// Packs a project's folder; the same bytes for the same files.
///
/// # Errors
/// When a file cannot be read, a link leads out of the project, or a limit is passed.
pub fn pack(
    folder: &Path,
    out: impl Write,
    limits: Limits,
    cancel: &Cancel,
) -> Result<(), BuildError> {
    let guard = Guard::new(limits, cancel);
    let context = Context::list_with(folder, &Ignore::read(LEFT_OUT), &guard)?;
    // The gzip header carries neither a name nor a time.
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::new(6)));
    for (path, item) in context.below("") {
        guard.check()?;
        let new = context.new_entry(path, item);
        if let layer::Data::Link(target) = &new.data {
            check_link(path, target)?;
        }
        layer::append(&mut archive, path, &new)?;
    }
    let gzip = archive.into_inner().at(folder)?;
    gzip.finish().and_then(|mut out| out.flush()).at(folder)
}

/// Unpacks a project into a folder that is empty.
///
/// # Errors
/// Why the archive is not taken; the folder is then to be thrown away.
pub fn unpack(
    archive: impl Read,
    folder: &Path,
    limits: Limits,
    cancel: &Cancel,
) -> Result<(), BuildError> {
    let guard = Guard::new(limits, cancel);
    let overhead = (limits.context_entries as u64).saturating_mul(ENTRY_BYTES);
    let bounded = Bounded {
        inner: GzDecoder::new(archive),
        left: limits.context_bytes.saturating_add(overhead),
    };
    let mut unpacking = Unpacking {
        folder,
        folders: BTreeSet::new(),
        left: limits.context_bytes,
    };
    let (mut long_name, mut long_link) = (None, None);
    let mut archive = tar::Archive::new(bounded);
    // Raw: a long name is read here, where it is bounded.
    for (count, entry) in archive.entries().map_err(bad)?.raw(true).enumerate() {
        guard.check()?;
        if count >= limits.context_entries {
            let most = limits.context_entries;
            return Err(BuildError::Limit(format!(
                "more than {most} files in the project"
            )));
        }
        let mut entry = entry.map_err(bad)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => long_name = Some(long_text(&mut entry)?),
            EntryType::GNULongLink => long_link = Some(long_text(&mut entry)?),
            EntryType::XGlobalHeader => {}
            _ => {
                let name = long_name
                    .take()
                    .unwrap_or_else(|| entry.path_bytes().into_owned());
                let link = long_link
                    .take()
                    .or_else(|| entry.link_name_bytes().map(|link| link.into_owned()));
                unpacking.place(&mut entry, &path(&name)?, kind, link)?;
            }
        }
    }
    Ok(())
}

fn bad(error: io::Error) -> BuildError {
    BuildError::BadArchive(error.to_string())
}

fn refused(path: &str, why: &str) -> BuildError {
    BuildError::BadArchive(format!("{path:?} {why}"))
}

/// What a long name's entry holds: the name, ended by a zero.
fn long_text(entry: &mut impl Read) -> Result<Vec<u8>, BuildError> {
    let mut text = Vec::new();
    entry
        .take(PATH_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(bad)?;
    if text.len() as u64 > PATH_BYTES {
        return Err(BuildError::BadArchive("a name that is too long".to_owned()));
    }
    if text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}

/// A path that stays in the folder, without a slash at its end; empty for the folder itself.
fn path(bytes: &[u8]) -> Result<String, BuildError> {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let text = std::str::from_utf8(bytes).map_err(|_| refused(&shown, "is not UTF-8"))?;
    let text = text.strip_prefix("./").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() || text == "." {
        return Ok(String::new());
    }
    let parts: Vec<&str> = text.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && part.len() < 256;
    if !parts.iter().all(plain) || text.contains('\0') {
        return Err(refused(&shown, "is not the name of something in a project"));
    }
    if parts.len() > DEPTH || text.len() as u64 > PATH_BYTES {
        return Err(refused(&shown, "lies too deep"));
    }
    Ok(text.to_owned())
}

/// Whether a link at this path leads to a place in the project. It may climb, but only before it descends:
/// then every step down is within the project, whatever other links it meets.
fn check_link(path: &str, target: &str) -> Result<(), BuildError> {
    let climbed = target.split('/').take_while(|part| *part == "..").count();
    let climbs_later = target.split('/').skip(climbed).any(|part| part == "..");
    let depth = path.matches('/').count();
    let leads_out = target.is_empty()
        || target.starts_with('/')
        || target.contains('\0')
        || target.len() as u64 > PATH_BYTES
        || climbed > depth;
    if leads_out {
        return Err(refused(
            path,
            &format!("is a link out of the project, to {target:?}"),
        ));
    }
    if climbs_later {
        return Err(refused(
            path,
            &format!("is a link that goes down and up again, to {target:?}"),
        ));
    }
    Ok(())
}

struct Unpacking<'f> {
    folder: &'f Path,
    /// Folders that were made, by path.
    folders: BTreeSet<String>,
    left: u64,
}

impl Unpacking<'_> {
    fn place(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &str,
        kind: EntryType,
        link: Option<Vec<u8>>,
    ) -> Result<(), BuildError> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.make_folder(parent)?;
        }
        match kind {
            EntryType::Directory => self.make_folder(path),
            EntryType::Regular | EntryType::Continuous => {
                let mode = entry.header().mode().map_err(bad)?;
                self.write_file(entry, path, mode)
            }
            EntryType::Symlink => {
                let target = link.unwrap_or_default();
                let target = std::str::from_utf8(&target)
                    .map_err(|_| refused(path, "is a link that is not UTF-8"))?;
                check_link(path, target)?;
                let made = std::os::unix::fs::symlink(target, self.folder.join(path));
                made.map_err(|error| taken(path, &error))
            }
            _ => Err(refused(path, "is no file, folder or symbolic link")),
        }
    }

    /// Makes a folder and those above it; whatever else is in the way was in the archive before.
    fn make_folder(&mut self, path: &str) -> Result<(), BuildError> {
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            let part = &path[..end];
            if self.folders.contains(part) {
                continue;
            }
            let made = DirBuilder::new().mode(0o700).create(self.folder.join(part));
            made.map_err(|error| taken(part, &error))?;
            self.folders.insert(part.to_owned());
        }
        Ok(())
    }

    fn write_file(
        &mut self,
        entry: &mut impl Read,
        path: &str,
        mode: u32,
    ) -> Result<(), BuildError> {
        let at = self.folder.join(path);
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&at);
        let mut file = opened.map_err(|error| taken(path, &error))?;
        let written = io::copy(&mut entry.take(self.left + 1), &mut file).map_err(bad)?;
        self.left = self
            .left
            .checked_sub(written)
            .ok_or_else(|| BuildError::Limit("the project is larger than is taken".to_owned()))?;
        let mode = (mode & 0o777) | 0o600;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&at, permissions).at(&at)
    }
}

fn taken(path: &str, error: &io::Error) -> BuildError {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return refused(path, "is there twice, or below something that is no folder");
    }
    BuildError::BadArchive(format!("{path:?}: {error}"))
}

/// Ends a stream that does not end itself.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it unpacks to more than is taken",
            )
        })?;
        Ok(length)
    }
}
