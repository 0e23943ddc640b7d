//! Folders for tests, and what this machine lets a test do.

use std::path::Path;

use lightshipd::engine::unpack::Ownership;

/// A folder on memory where there is one: thousands of syncs should not wait for a disk.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match tempfile::tempdir_in(memory) {
        Ok(folder) => folder,
        Err(_) => tempfile::tempdir().unwrap(),
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn ownership() -> Ownership {
    if is_root() {
        Ownership::Kept
    } else {
        Ownership::Own
    }
}

/// Every path below a folder with its kind, permission bits and content, sorted.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    list(root, root, &mut lines);
    lines.sort();
    lines
}

fn list(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let kind = metadata.file_type();
        let what = if kind.is_symlink() {
            format!("-> {}", std::fs::read_link(&path).unwrap().display())
        } else if kind.is_dir() {
            list(root, &path, lines);
            format!("folder {:o}", metadata.mode() & 0o7777)
        } else if kind.is_char_device() {
            format!("device {:x}", metadata.rdev())
        } else if kind.is_fifo() {
            "pipe".to_owned()
        } else {
            let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            format!("file {:o} {content}", metadata.mode() & 0o7777)
        };
        lines.push(format!("{name} {what}"));
    }
}
