//! `/proc`, `/sys`, `/dev`, and what a container must not see of them: as Docker has it.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;

use lightship_spec::container::Security;
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use super::{Context as _, Failure, bind_plain, find, tmpfs};
use crate::engine::runtime::bundle::Bundle;
use crate::engine::runtime::cgroup;
use crate::engine::runtime::walk::Make;

const DEFAULT_SHM_BYTES: u64 = 64 * 1024 * 1024;

/// The device nodes that every container has.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Hidden from containers.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Not writable in containers.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

const STRICT: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Mounts the system's file systems.
pub(super) fn mounts(bundle: &Bundle, root: &Path, terminal: Option<&Path>) -> Result<(), Failure> {
    let security = &bundle.spec.security;
    one(root, "/proc", "proc", STRICT)?;
    let sys = if security.privileged {
        STRICT
    } else {
        STRICT | MountFlags::RDONLY
    };
    one(root, "/sys", "sysfs", sys)?;
    control_groups(root, security.privileged);
    if security.privileged {
        one(root, "/dev", "devtmpfs", MountFlags::NOSUID)?;
    } else {
        devices(bundle, root)?;
    }
    let dev = find(root, "/dev", Make::Folder)?;
    terminals(root)?;
    let shm = bundle.spec.shm_bytes.unwrap_or(DEFAULT_SHM_BYTES);
    if security.host_ipc {
        let _ = fs::create_dir(dev.path().join("shm"));
        bind_plain(Path::new("/dev/shm"), &dev.path().join("shm"))?;
    } else {
        tmpfs(
            &find(root, "/dev/shm", Make::Folder)?.path(),
            STRICT,
            &format!("mode=1777,size={shm}"),
        )?;
    }
    if !security.privileged {
        one(root, "/dev/mqueue", "mqueue", STRICT)?;
    }
    if let Some(terminal) = terminal {
        let console = find(root, "/dev/console", Make::File)?;
        bind_plain(terminal, &console.path())?;
    }
    sysctls(bundle)
}

fn one(root: &Path, path: &str, kind: &str, flags: MountFlags) -> Result<(), Failure> {
    let inside = find(root, path, Make::Folder)?;
    let mounted = mount(kind, inside.path(), kind, flags, None);
    mounted.context(|| format!("mounting {path}"))
}

/// Read-only, and of the container's own group alone. Not every host lets this be; none needs it.
fn control_groups(root: &Path, writable: bool) {
    let flags = if writable {
        STRICT
    } else {
        STRICT | MountFlags::RDONLY
    };
    if cgroup::is_unified() {
        drop(one(root, "/sys/fs/cgroup", "cgroup2", flags));
    }
}

fn terminals(root: &Path) -> Result<(), Failure> {
    let inside = find(root, "/dev/pts", Make::Folder)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let of_group = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    let plain = c"newinstance,ptmxmode=0666,mode=0620";
    let mounted = match mount("devpts", inside.path(), "devpts", flags, of_group) {
        // In a user namespace that has no such group, terminals belong to whoever opens them.
        Err(rustix::io::Errno::INVAL) => mount("devpts", inside.path(), "devpts", flags, plain),
        mounted => mounted,
    };
    mounted.context(|| "mounting /dev/pts".to_owned())
}

fn devices(bundle: &Bundle, root: &Path) -> Result<(), Failure> {
    // Rules let the container make nodes itself; the devices controller then says which of them open.
    let own_nodes = !bundle.spec.device_rules.is_empty();
    let flags = if own_nodes {
        MountFlags::NOSUID
    } else {
        MountFlags::NOSUID | MountFlags::NODEV
    };
    tmpfs(
        &find(root, "/dev", Make::Folder)?.path(),
        flags,
        "mode=755,size=64k",
    )?;
    for name in NODES {
        let inside = find(root, &format!("/dev/{name}"), Make::File)?;
        bind_plain(&Path::new("/dev").join(name), &inside.path())?;
    }
    for device in &bundle.spec.devices {
        node(root, Path::new(&device.host), &device.container)?;
    }
    let dev = find(root, "/dev", Make::Folder)?;
    for (target, name) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("/proc/kcore", "core"),
    ] {
        symlink(target, dev.path().join(name)).context(|| format!("linking /dev/{name}"))?;
    }
    Ok(())
}

/// One device, or all in a folder (`/dev/snd`).
fn node(root: &Path, host: &Path, inside: &str) -> Result<(), Failure> {
    let metadata = fs::metadata(host).context(|| format!("looking at {}", host.display()))?;
    let kind = metadata.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        let inside = find(root, inside, Make::File)?;
        return bind_plain(host, &inside.path());
    }
    for entry in fs::read_dir(host).context(|| format!("listing {}", host.display()))? {
        let entry = entry.context(|| format!("listing {}", host.display()))?;
        let kind = entry
            .metadata()
            .context(|| format!("looking at {}", entry.path().display()))?
            .file_type();
        if kind.is_char_device() || kind.is_block_device() {
            node(
                root,
                &entry.path(),
                &format!("{inside}/{}", entry.file_name().to_string_lossy()),
            )?;
        }
    }
    Ok(())
}

fn sysctls(bundle: &Bundle) -> Result<(), Failure> {
    let root = bundle.root();
    for (name, value) in &bundle.spec.sysctls {
        let path = root.join("proc/sys").join(name.replace('.', "/"));
        fs::write(path, value).context(|| format!("setting {name}"))?;
    }
    Ok(())
}

/// Covers what a container must not see, and closes what it must not write.
pub(super) fn hide(security: &Security, root: &Path) -> Result<(), Failure> {
    if security.privileged {
        return Ok(());
    }
    for path in MASKED {
        let inside = root.join(&path[1..]);
        let Ok(metadata) = fs::symlink_metadata(&inside) else {
            continue;
        };
        if metadata.is_dir() {
            tmpfs(&inside, STRICT | MountFlags::RDONLY, "size=0")?;
        } else {
            mount_bind("/dev/null", &inside).context(|| format!("hiding {path}"))?;
        }
    }
    for path in READ_ONLY {
        let inside = root.join(&path[1..]);
        if fs::symlink_metadata(&inside).is_ok() {
            mount_bind(&inside, &inside).context(|| format!("closing {path}"))?;
            let flags = MountFlags::BIND | MountFlags::RDONLY | STRICT;
            mount_remount(&inside, flags, "").context(|| format!("closing {path}"))?;
        }
    }
    Ok(())
}
