//! Starts the container's first process.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};

use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::output::Output;
use crate::engine::runtime::bundle::Bundle;
use crate::engine::runtime::capabilities::Capabilities;
use crate::engine::runtime::cgroup::Cgroup;
use crate::engine::runtime::child::Child;
use crate::engine::runtime::log::Stream;
use crate::engine::runtime::{seccomp, sys};

/// A reason for a failed start is no longer.
const MAX_REASON_BYTES: u64 = 4096;

/// A container that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Process,
    /// Readable when it has ended.
    pub(super) ended: OwnedFd,
    /// Kept open, so that reads of standard input wait rather than end.
    _stdin: Option<OwnedFd>,
}

/// Starts the container; done when its program runs.
pub(super) fn start(bundle: &Bundle, cgroup: &Cgroup) -> Result<(Running, Output), String> {
    let told = |error: io::Error| format!("preparing: {error}");
    let capabilities =
        Capabilities::of(&bundle.spec.security).map_err(|error| error.to_string())?;
    let security = &bundle.spec.security;
    let filtered = !security.privileged && !security.seccomp_unconfined;
    let (program, arguments) = bundle.arguments.split_first().ok_or("nothing to run")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(bundle.environment.iter().map(|(name, value)| (name, value)));
    let streams = Streams::connect(bundle, &mut command).map_err(told)?;
    let (mut reason, teller) = reason_pipe().map_err(told)?;
    let child = Child {
        bundle: bundle.clone(),
        cgroup: cgroup.clone(),
        capabilities,
        filter: filtered.then(|| seccomp::filter(capabilities)),
        terminal: streams.terminal.clone(),
    };
    sys::before_exec(&mut command, move || {
        child.enter().map_err(|failure| {
            let mut teller = &teller;
            let _ = teller.write_all(failure.0.as_bytes());
            io::Error::other("the reason is in the pipe")
        })
    });
    let spawned = spawn(&mut command, security.host_pid);
    // The write end lives in the command's closure; with it gone the pipe has an end.
    drop(command);
    let child = spawned.map_err(|error| {
        let mut why = String::new();
        let _ = (&mut reason)
            .take(MAX_REASON_BYTES)
            .read_to_string(&mut why);
        if why.is_empty() {
            format!("{program}: {error}")
        } else {
            why
        }
    })?;
    let ended = super::pidfd(&child).map_err(told)?;
    Ok((
        Running {
            child,
            ended,
            _stdin: streams.stdin,
        },
        streams.output,
    ))
}

/// Forks into a process namespace of its own.
fn spawn(command: &mut Command, host_pid: bool) -> io::Result<Process> {
    if host_pid {
        return command.spawn();
    }
    let own = fs::File::open("/proc/self/ns/pid")?;
    sys::unshare(UnshareFlags::NEWPID)?;
    let spawned = command.spawn();
    // Children of the shim are born in its own namespace again; a second container would not be.
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&own),
        Some(LinkNameSpaceType::ProcessID),
    )?;
    spawned
}

/// Where the container's three first descriptors lead.
struct Streams {
    terminal: Option<PathBuf>,
    stdin: Option<OwnedFd>,
    output: Output,
}

impl Streams {
    fn connect(bundle: &Bundle, command: &mut Command) -> io::Result<Self> {
        if bundle.spec.tty {
            let (host, inside, path) = terminal()?;
            command
                .stdin(inside.try_clone()?)
                .stdout(inside.try_clone()?)
                .stderr(inside);
            return Ok(Self {
                terminal: Some(path),
                stdin: None,
                output: Output::new(vec![(host, Stream::Out)]),
            });
        }
        let stdin = if bundle.spec.stdin_open {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            command.stdin(Stdio::from(read));
            Some(write)
        } else {
            command.stdin(Stdio::null());
            None
        };
        let (out, out_inside) = pipe()?;
        let (error, error_inside) = pipe()?;
        command
            .stdout(Stdio::from(out_inside))
            .stderr(Stdio::from(error_inside));
        let output = Output::new(vec![(out, Stream::Out), (error, Stream::Error)]);
        Ok(Self {
            terminal: None,
            stdin,
            output,
        })
    }
}

/// A pipe of which only the reading end does not block.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// A terminal: the host's side, the container's, and its path.
pub(crate) fn terminal() -> io::Result<(OwnedFd, OwnedFd, PathBuf)> {
    let host = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&host)?;
    rustix::pty::unlockpt(&host)?;
    let path = rustix::pty::ptsname(&host, Vec::new())?;
    let path = PathBuf::from(path.into_string().map_err(io::Error::other)?);
    let inside = fs::File::options().read(true).write(true).open(&path)?;
    rustix::io::ioctl_fionbio(&host, true)?;
    Ok((host, inside.into(), path))
}

fn reason_pipe() -> io::Result<(fs::File, fs::File)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::fcntl_setfd(&write, FdFlags::CLOEXEC)?;
    Ok((fs::File::from(read), fs::File::from(write)))
}

/// The rules of v1's devices controller for the spec's devices.
pub(super) fn device_rules(bundle: &Bundle) -> io::Result<Vec<String>> {
    let mut rules = Vec::new();
    for device in &bundle.spec.devices {
        add_rules(Path::new(&device.host), &device.access, &mut rules)?;
    }
    Ok(rules)
}

fn add_rules(path: &Path, access: &str, rules: &mut Vec<String>) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.metadata()?.file_type();
            if kind.is_char_device() || kind.is_block_device() {
                add_rules(&entry.path(), access, rules)?;
            }
        }
    } else if kind.is_char_device() || kind.is_block_device() {
        let letter = if kind.is_block_device() { 'b' } else { 'c' };
        let (major, minor) = (
            rustix::fs::major(metadata.rdev()),
            rustix::fs::minor(metadata.rdev()),
        );
        rules.push(format!("{letter} {major}:{minor} {access}"));
    }
    Ok(())
}
