//! The system calls for which there is no safe wrapper: the only unsafe code of the crate.

#![expect(unsafe_code, reason = "each block states why it is sound")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::thread::UnshareFlags;
use tokio::io::unix::AsyncFd;

/// Leaves namespaces that are shared with the parent.
///
/// Never unshares the file table, the one flag that rustix's function is unsafe for.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: rustix asks that file descriptors stay valid; they do, since FILES is taken out.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Runs `work` in the new process, between `fork` and `execve`.
///
/// The caller is single-threaded: the shim and the exec helper are, by design and from `main` on.
pub(crate) fn before_exec(
    command: &mut Command,
    work: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the forked process has a copy of all memory of a process with one thread, so that no
    // lock is held by a thread that does not exist there; allocating and locking are sound.
    unsafe { command.pre_exec(work) };
}

/// One instruction of a classic BPF program.
pub(crate) type Instruction = libc::sock_filter;

/// Filters this thread's system calls from now on, and those of what it starts or becomes.
pub(crate) fn load_filter(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program outlives the call, its length is right, and the kernel copies and checks it.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Watches a descriptor with tokio's reactor.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<File>> {
    // SAFETY: the descriptor is owned by the file, which gives the same one out as long as it lives and
    // is dropped only after tokio has let go of it.
    unsafe { AsyncFd::register(File::from(fd)) }.map_err(io::Error::from)
}
