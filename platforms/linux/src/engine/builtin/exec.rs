//! Commands in running containers, with pipes or a terminal.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags};
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;

use super::{Builtin, Error, Instance, id};
use crate::engine::error::Doing;
use crate::engine::runtime::{ExecRequest, is_alive, terminal, watch};

/// A command that runs in a container. Dropped, it is killed.
#[derive(Debug)]
pub struct Session {
    child: Child,
    ended: AsyncFd<File>,
    /// With a terminal: its host side, to read from and write to; it does not block.
    pub terminal: Option<File>,
}

impl Builtin {
    /// Starts a command in a running container.
    ///
    /// With a terminal its three streams are [`Session::terminal`]; without, they are `streams`.
    pub fn exec(
        &self,
        instance: &Instance,
        request: &ExecRequest,
        streams: [Stdio; 3],
    ) -> Result<Session, Error> {
        let folder = self.folder(id(instance));
        if !is_alive(&folder) {
            return Err(Error::Absent(format!("a running {}", instance.name)));
        }
        let text = serde_json::to_string(request)
            .map_err(std::io::Error::other)
            .doing("asking for a command")?;
        let mut command = Command::new(&self.options.program);
        command.args(["shim", "exec"]).arg(&folder).arg(text);
        let mut host_side = None;
        if request.terminal {
            let (host, inside, _) = terminal().doing("opening a terminal")?;
            let again = || inside.try_clone().doing("opening a terminal");
            command.stdin(again()?).stdout(again()?).stderr(again()?);
            host_side = Some(File::from(host));
        } else {
            let [stdin, stdout, stderr] = streams;
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        let child = command.spawn().doing("starting a command")?;
        let pid = Pid::from_raw(child.id() as i32).expect("a child has a number");
        let ended =
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).doing("starting a command")?;
        let ended = watch(ended).doing("starting a command")?;
        Ok(Session {
            child,
            ended,
            terminal: host_side,
        })
    }
}

impl Session {
    /// The process on the host, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the command to end: its exit status, 126 when it could not be started.
    pub async fn wait(&mut self) -> Result<i32, Error> {
        let _ended = self.ended.readable().await.doing("waiting for a command")?;
        let status = self.child.wait().doing("waiting for a command")?;
        Ok(status.code().unwrap_or(255))
    }

    /// Tells the terminal how large the window is.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        let Some(terminal) = &self.terminal else {
            return Ok(());
        };
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(terminal.as_fd(), size).doing("resizing a terminal")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It has ended already in the ordinary case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
