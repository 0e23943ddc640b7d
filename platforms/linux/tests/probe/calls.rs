//! A program for containers: makes every system call once and prints what came of it, a line for each.
//!
//! `NUMBER RESULT`, or `NAME RESULT` for those that are made with arguments that matter.
//! The result is 0, the error's number, or 1000 and the number of the signal that ended it.
//! All arguments of the others are -1, which is no file, no process, no address and no size: what a filter
//! lets through does no harm.
//! It is built by the test that runs it, as one static file, and is part of no crate.

use std::ffi::{c_int, c_long, c_uint};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn alarm(seconds: c_uint) -> c_uint;
    fn _exit(status: c_int) -> !;
}

/// No call has a higher number yet.
const LAST: c_long = 480;

/// Those that return twice, never, or with the disk.
#[cfg(target_arch = "x86_64")]
const LEFT_OUT: [c_long; 6] = [15, 34, 58, 162, 219, 335];
#[cfg(target_arch = "aarch64")]
const LEFT_OUT: [c_long; 3] = [81, 128, 139];

/// `clone`, `socket`, `personality`, `unshare`, `ptrace`.
#[cfg(target_arch = "x86_64")]
const NUMBERS: [c_long; 5] = [56, 41, 135, 272, 101];
#[cfg(target_arch = "aarch64")]
const NUMBERS: [c_long; 5] = [220, 198, 92, 97, 117];

const NEW_USER: c_long = 0x1000_0000;
const NEW_MOUNTS: c_long = 0x0002_0000;
const SIGCHLD: c_long = 17;

fn main() {
    for number in (0..LAST).filter(|number| !LEFT_OUT.contains(number)) {
        println!("{number} {}", outcome(number, [-1; 6]));
    }
    let [clone, socket, personality, unshare, ptrace] = NUMBERS;
    let chosen = [
        ("clone-newuser", clone, [NEW_USER | SIGCHLD, 0, 0, 0, 0, 0]),
        ("clone-newns", clone, [NEW_MOUNTS | SIGCHLD, 0, 0, 0, 0, 0]),
        ("unshare-newuser", unshare, [NEW_USER, 0, 0, 0, 0, 0]),
        ("socket-vsock", socket, [40, 1, 0, 0, 0, 0]),
        ("socket-packet", socket, [17, 3, 0, 0, 0, 0]),
        ("socket-netlink", socket, [16, 3, 0, 0, 0, 0]),
        ("socket-inet", socket, [2, 1, 0, 0, 0, 0]),
        ("personality-read-implies-exec", personality, [0x0040_0000, 0, 0, 0, 0, 0]),
        ("personality-linux", personality, [0, 0, 0, 0, 0, 0]),
        ("ptrace-traceme", ptrace, [0, 0, 0, 0, 0, 0]),
    ];
    for (name, number, arguments) in chosen {
        println!("{name} {}", outcome(number, arguments));
    }
}

/// In a process of its own, which may end by it.
fn outcome(number: c_long, arguments: [c_long; 6]) -> c_int {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: this process has one thread; the child makes one call and ends. What the call could do to its
    // memory, it does to the child's.
    unsafe {
        let child = fork();
        if child == 0 {
            alarm(2);
            let failed = syscall(number, a, b, c, d, e, f) == -1;
            let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            _exit(if failed { error } else { 0 });
        }
        let mut status = 0;
        waitpid(child, &mut status, 0);
        match status & 0x7f {
            0 => (status >> 8) & 0xff,
            signal => 1000 + signal,
        }
    }
}
