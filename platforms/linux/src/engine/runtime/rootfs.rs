//! A container's root: overlay, system mounts, volumes, devices, what is hidden.
//!
//! All of it happens in the container's own mount namespace, so that nothing of it outlives the
//! container or shows on the host. Every file system that a container can write to is mounted `nodev`:
//! a device node that it makes, or brings along, opens nothing. The nodes that it may use are bind
//! mounts of the host's.

mod system;
mod volume;

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use lightship_spec::container::Mount;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};

use super::bundle::{Bundle, File};
use super::walk::{Make, Place, place};
use crate::store::is_read_only;

/// The most of the memory that a container's changes take while the disk takes none.
const MEMORY_SHARE: &str = "10%";

/// What failed, for people.
pub(super) struct Failure(pub(super) String);

/// Says what was being done.
pub(super) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{}: {}", what(), error.into())))
    }
}

/// Builds the root and moves into it. `terminal` becomes the console.
pub(super) fn enter(bundle: &Bundle, terminal: Option<&Path>) -> Result<(), Failure> {
    // Mounts of the host go on to appear below here, none of ours appear there.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).context(|| "detaching from the host's mounts".to_owned())?;
    let root = bundle.root();
    overlay(bundle, &root)?;
    system::mounts(bundle, &root, terminal)?;
    for item in &bundle.spec.mounts {
        add(bundle, &root, item)
            .map_err(|Failure(why)| Failure(format!("mount at {}: {why}", target(item))))?;
    }
    for (source, target, read_only) in &bundle.extra {
        bind(&root, source, target, *read_only, false)?;
    }
    files(bundle, &root)?;
    system::hide(&bundle.spec.security, &root)?;
    pivot(&root)?;
    if bundle.spec.security.read_only_root {
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV;
        mount_remount("/", flags, "").context(|| "making the root read-only".to_owned())?;
    }
    Ok(())
}

/// The layers, stacked. They are named by descriptors, because the options must fit one page.
fn overlay(bundle: &Bundle, root: &Path) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut open = Vec::new();
    for layer in bundle.layers.iter().rev() {
        let folder = rustix::fs::open(layer, flags, Mode::empty());
        open.push(folder.context(|| format!("opening the layer {}", layer.display()))?);
    }
    let mut names: Vec<String> = open
        .iter()
        .map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .collect();
    let stack = |lower: &[String], changes: &Path| {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            changes.join("upper").display(),
            changes.join("work").display()
        );
        let options = std::ffi::CString::new(options)?;
        let flags = match bundle.spec.security.privileged {
            true => MountFlags::empty(),
            false => MountFlags::NODEV,
        };
        mount("overlay", root, "overlay", flags, options.as_c_str())?;
        io::Result::Ok(())
    };
    let stacked = match is_read_only(&bundle.instance) {
        true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        false => stack(&names, &bundle.instance),
    };
    let cannot_write = |error: &io::Error| {
        let kind = error.kind();
        kind == io::ErrorKind::ReadOnlyFilesystem || kind == io::ErrorKind::StorageFull
    };
    match stacked {
        // What was committed starts all the same: what it wrote before is there, what it writes now is on memory.
        Err(error) if cannot_write(&error) => {
            let before = rustix::fs::open(bundle.instance.join("upper"), flags, Mode::empty());
            let before = before.context(|| "opening what was written before".to_owned())?;
            names.insert(0, format!("/proc/self/fd/{}", before.as_raw_fd()));
            stack(&names, &on_memory(bundle)?)
        }
        stacked => stacked,
    }
    .context(|| "stacking the layers".to_owned())
}

/// A place for changes that is gone with the container.
fn on_memory(bundle: &Bundle) -> Result<PathBuf, Failure> {
    let memory = bundle.folder.join("memory");
    let what = || "making room on memory".to_owned();
    fs::create_dir_all(&memory).context(what)?;
    let options = format!("mode=0700,size={MEMORY_SHARE}");
    tmpfs(&memory, MountFlags::NODEV, &options)?;
    for name in ["upper", "work"] {
        fs::create_dir(memory.join(name)).context(what)?;
    }
    Ok(memory)
}

fn add(bundle: &Bundle, root: &Path, item: &Mount) -> Result<(), Failure> {
    match item {
        Mount::Volume {
            name,
            target,
            read_only,
        } => {
            let inside = find(root, target, Make::Folder)?;
            let data = volume::prepare(&bundle.volumes.join(name), &inside)?;
            bind(root, &data, target, *read_only, false)
        }
        Mount::Bind {
            source,
            target,
            read_only,
            follow,
        } => bind(root, Path::new(source), target, *read_only, *follow),
        Mount::Tmpfs {
            target,
            size_bytes,
            mode,
        } => {
            let inside = find(root, target, Make::Folder)?;
            let mut options = format!("mode={:o}", mode.unwrap_or(0o1777));
            if let Some(bytes) = size_bytes {
                options.push_str(&format!(",size={bytes}"));
            }
            tmpfs(
                &inside.path(),
                MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC,
                &options,
            )
        }
    }
}

fn target(item: &Mount) -> &str {
    match item {
        Mount::Volume { target, .. } | Mount::Bind { target, .. } | Mount::Tmpfs { target, .. } => {
            target
        }
    }
}

/// Makes a path of the host appear in the container.
fn bind(
    root: &Path,
    source: &Path,
    target: &str,
    read_only: bool,
    follow: bool,
) -> Result<(), Failure> {
    let metadata = fs::metadata(source).context(|| format!("looking at {}", source.display()))?;
    let make = if metadata.is_dir() {
        Make::Folder
    } else {
        Make::File
    };
    let inside = find(root, target, make)?;
    mount_bind_recursive(source, inside.path())
        .context(|| format!("binding {}", source.display()))?;
    // The descriptor still names what lies below the new mount.
    let inside = find(root, target, make)?;
    if !follow {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change(inside.path(), private).context(|| "detaching a bind mount".to_owned())?;
    }
    // The host's own device files stay usable where a device file itself is bound.
    let mut flags = if metadata.is_dir() {
        MountFlags::NODEV
    } else {
        MountFlags::empty()
    };
    if read_only || is_read_only(source) {
        flags |= MountFlags::RDONLY;
    }
    mount_remount(inside.path(), MountFlags::BIND | flags, "")
        .context(|| "restricting a bind mount".to_owned())
}

/// Writes the files that the publisher or the device's settings bring, on memory, and binds each.
fn files(bundle: &Bundle, root: &Path) -> Result<(), Failure> {
    let staging = bundle.folder.join("files");
    for name in ["hosts", "hostname", "resolv.conf"] {
        bind(
            root,
            &bundle.folder.join(name),
            &format!("/etc/{name}"),
            false,
            false,
        )?;
    }
    if bundle.files.is_empty() {
        return Ok(());
    }
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    tmpfs(&staging, flags, "mode=0700")?;
    for (number, file) in bundle.files.iter().enumerate() {
        let path = staging.join(number.to_string());
        write(&path, file).context(|| format!("writing {}", file.target))?;
        bind(root, &path, &file.target, true, false)?;
    }
    Ok(())
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, &file.content)?;
    std::os::unix::fs::chown(path, Some(file.uid), Some(file.gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(file.mode))
}

fn tmpfs(path: &Path, flags: MountFlags, options: &str) -> Result<(), Failure> {
    let options = std::ffi::CString::new(options).expect("options are made of numbers");
    mount("tmpfs", path, "tmpfs", flags, options.as_c_str())
        .context(|| format!("mounting memory at {}", path.display()))
}

fn find(root: &Path, path: &str, make: Make) -> Result<Place, Failure> {
    place(root, path, make).context(|| format!("finding {path} in the container"))
}

/// Makes `root` the root, and lets go of the host's.
fn pivot(root: &Path) -> Result<(), Failure> {
    let what = || "moving into the root".to_owned();
    std::env::set_current_dir(root).context(what)?;
    // With the same folder for both, the old root lies over the new one and is taken off at once.
    rustix::process::pivot_root(".", ".").context(what)?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change(".", slave).context(what)?;
    unmount(".", UnmountFlags::DETACH).context(what)?;
    std::env::set_current_dir("/").context(what)
}

/// Binds one file or folder of the host without changing its flags.
fn bind_plain(source: &Path, target: &Path) -> Result<(), Failure> {
    mount_bind(source, target).context(|| format!("binding {}", source.display()))
}
