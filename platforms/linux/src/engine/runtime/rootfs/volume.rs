//! Named volumes: a new one starts with what the image has in its place, as with Docker.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use super::{Context as _, Failure};
use crate::engine::runtime::walk::Place;

/// Deeper folders of an image are not copied into a new volume.
const MAX_DEPTH: usize = 64;

/// The folder with a volume's data, filled from `image` when the volume is new.
///
/// A mark says that filling is done; a cut before it means that it is done again.
pub(super) fn prepare(volume: &Path, image: &Place) -> Result<PathBuf, Failure> {
    let (data, mark) = (volume.join("data"), volume.join("filled"));
    if mark.exists() {
        return Ok(data);
    }
    let what = || format!("making the volume {}", volume.display());
    fs::create_dir_all(&data).context(what)?;
    copy_folder(&image.path(), &data, 0).context(what)?;
    rustix::fs::syncfs(fs::File::open(&data).context(what)?).context(what)?;
    fs::write(&mark, "").context(what)?;
    fs::File::open(volume)
        .and_then(|folder| folder.sync_all())
        .context(what)?;
    Ok(data)
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("folders too deep"));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&source)?;
        if metadata.is_symlink() {
            if fs::symlink_metadata(&target).is_err() {
                symlink(fs::read_link(&source)?, &target)?;
            }
            lchown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
        } else if metadata.is_dir() {
            match fs::create_dir(&target) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => copy_folder(&source, &target, depth + 1)?,
            }
        } else if metadata.is_file() {
            fs::copy(&source, &target)?;
            chown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
        }
    }
    let metadata = fs::metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))
}
