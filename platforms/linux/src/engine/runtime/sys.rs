//! The system calls for which there is no safe wrapper: the only unsafe code of the crate.

#![expect(unsafe_code, reason = "each block states why it is sound")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
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

/// One instruction of a BPF program (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct DeviceInstruction {
    pub(crate) code: u8,
    /// Destination in the low half, source in the high one.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) value: i32,
}

/// Has a program decide which device nodes open in a v2 cgroup, as long as the cgroup is there.
pub(crate) fn attach_device_filter(cgroup: &File, program: &[DeviceInstruction]) -> io::Result<()> {
    /// `union bpf_attr`, as BPF_PROG_LOAD takes it.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 4],
    }
    const LOAD: libc::c_int = 5;
    const ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 15;
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    let count = u32::try_from(program.len()).map_err(io::Error::other)?;
    let (instructions, license) = (program.as_ptr() as u64, c"MIT".as_ptr() as u64);
    let load = Load {
        kind: CGROUP_DEVICE,
        count,
        instructions,
        license,
        rest: [0; 4],
    };
    // SAFETY: the attributes, the instructions and the text outlive the call; the kernel copies them and
    // verifies the program.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<Load>()) };
    let fd = i32::try_from(fd)
        .ok()
        .filter(|fd| *fd >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let attach = [
        cgroup.as_raw_fd().cast_unsigned(),
        fd.as_raw_fd().cast_unsigned(),
        ATTACH_CGROUP_DEVICE,
        0,
    ];
    // SAFETY: the attributes outlive the call.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, ATTACH, attach.as_ptr(), size_of_val(&attach)) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Splits a container's first process in two: an init, which stays, and the command, for which this
/// returns.
///
/// The init passes signals on, buries orphans, and ends as the command ended. The caller is between
/// `fork` and `execve` in a process with one thread.
pub(crate) fn split_off_init() -> io::Result<()> {
    // SAFETY: the set is filled by the call before it is used, and all pointers are to live values;
    // blocking signals changes nothing but when they arrive.
    let signals = unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut signals);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
        signals
    };
    // SAFETY: there is one thread, so the copy is whole, as in `before_exec`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above; the command starts with no signal blocked, as if there were no init.
            unsafe {
                libc::sigprocmask(libc::SIG_UNBLOCK, &raw const signals, std::ptr::null_mut())
            };
            Ok(())
        }
        command => serve_as_init(command, &signals),
    }
}

fn serve_as_init(command: libc::pid_t, signals: &libc::sigset_t) -> ! {
    // SAFETY: nothing of this process uses a descriptor again. The shim waits for the end of one of
    // them to know that the command runs, so none may stay open here.
    unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    loop {
        // SAFETY: the set is whole; information about the sender is not asked for.
        let signal = unsafe { libc::sigwaitinfo(signals, std::ptr::null_mut()) };
        if signal == libc::SIGCHLD {
            bury(command);
        } else if signal > 0 {
            // SAFETY: plain numbers. The command may just have ended; then this fails, and SIGCHLD follows.
            unsafe { libc::kill(command, signal) };
        }
    }
}

/// Takes note of every child that ended; ends with the command.
fn bury(command: libc::pid_t) {
    loop {
        let mut status = 0;
        // SAFETY: the status is a live number.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if ended <= 0 {
            return;
        }
        if ended == command {
            let code = if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            };
            // SAFETY: ends the process at once, which is what is wanted: there is nothing to clean up.
            unsafe { libc::_exit(code) };
        }
    }
}

/// Watches a descriptor with tokio's reactor.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<File>> {
    // SAFETY: the descriptor is owned by the file, which gives the same one out as long as it lives and
    // is dropped only after tokio has let go of it.
    unsafe { AsyncFd::register(File::from(fd)) }.map_err(io::Error::from)
}
