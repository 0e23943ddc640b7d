//! The process that stands behind one container: starts it, keeps its output, tests it, starts it again,
//! and records how it ended, whether or not the daemon is there.
//!
//! It has one thread, lives in the container's network namespace, and talks to the daemon through files
//! and two datagram sockets: its own takes orders, the daemon's hears that something changed.
//! If it dies, the kernel kills the container with it, and the lock that it held is free.

mod output;
mod probe;
mod spawn;

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use self::output::Output;
use self::spawn::Running;
pub(crate) use self::spawn::terminal;
use super::bundle::Bundle;
use super::cgroup::Cgroup;
use super::log::Writer;
use super::network;
use super::state::{State, is_alive};
use super::supervisor::{Exit, Happened, Order, Supervisor};
use crate::store::is_read_only;

/// The order to stop.
pub(crate) const STOP: &[u8] = b"stop";

/// Runs `lightshipd shim ...`. The arguments are those after `shim`.
///
/// Must be called before the process has a second thread.
pub fn main(arguments: &[String]) -> ExitCode {
    match arguments {
        [verb, folder] if verb == "run" => run(Path::new(folder)),
        [verb, rest @ ..] if verb == "probe" => probe::main(rest),
        [verb, rest @ ..] if verb == "exec" => super::exec::main(rest),
        _ => {
            eprintln!("lightshipd shim is started by lightshipd itself");
            ExitCode::from(2)
        }
    }
}

fn run(folder: &Path) -> ExitCode {
    match Shim::begin(folder) {
        Ok(mut shim) => match shim.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            answer(&Err(error));
            ExitCode::FAILURE
        }
    }
}

/// Tells the daemon, which waits for this line, whether the first start went well.
fn answer(outcome: &Result<(), String>) {
    let line = match outcome {
        Ok(()) => "started\n".to_owned(),
        Err(why) => format!("failed {}\n", why.replace('\n', " ")),
    };
    // The daemon may have given up waiting.
    let _ = io::stdout().write_all(line.as_bytes());
    let _ = io::stdout().flush();
}

struct Shim {
    bundle: Bundle,
    supervisor: Supervisor,
    cgroup: Cgroup,
    control: UnixDatagram,
    log: Writer,
    running: Option<Running>,
    output: Output,
    test: Option<std::process::Child>,
    oom_kills: u64,
    warnings: Vec<String>,
    begun: Instant,
    answered: bool,
}

impl Shim {
    fn begin(folder: &Path) -> Result<Self, String> {
        let told = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| format!("{what}: {error}")
        };
        if !is_alive(folder) {
            return Err(
                "a shim is started by lightshipd, with its life on standard input".to_owned(),
            );
        }
        let bytes = std::fs::read(folder.join("bundle")).map_err(told("reading the bundle"))?;
        let bundle: Bundle = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let control = folder.join("control");
        let _ = std::fs::remove_file(&control);
        let control = UnixDatagram::bind(control).map_err(told("opening the control socket"))?;
        control
            .set_nonblocking(true)
            .map_err(told("opening the control socket"))?;
        State::begun(&bundle.name, &bundle.digest)
            .write(folder)
            .map_err(told("writing the state"))?;
        // Losing it loses the container; where that is allowed, the kernel takes others first.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
        network::enter(&bundle.network).map_err(told("connecting"))?;
        let mut cgroup = Cgroup::of(&bundle.cgroup_parent, &bundle.id);
        let devices = spawn::device_rules(&bundle).map_err(told("looking at devices"))?;
        let mut warnings = cgroup
            .make(&bundle.spec, &devices)
            .map_err(told("making the cgroup"))?;
        if is_read_only(&bundle.instance) {
            warnings.push(
                "the disk is read-only: what the container writes is gone when it ends".to_owned(),
            );
        }
        let log = Writer::open(&bundle.log, bundle.spec.logs.max_bytes)
            .or_else(|error| {
                warnings.push(format!("what the container says is not kept: {error}"));
                Writer::nowhere()
            })
            .map_err(told("opening the log"))?;
        let supervisor = Supervisor::new(
            bundle.spec.run,
            bundle.spec.restart,
            bundle.health.clone(),
            bundle.spec.stop_grace_ms,
        );
        Ok(Self {
            supervisor,
            cgroup,
            control,
            log,
            running: None,
            output: Output::default(),
            test: None,
            oom_kills: 0,
            warnings,
            begun: Instant::now(),
            answered: false,
            bundle,
        })
    }

    fn serve(&mut self) -> Result<(), String> {
        loop {
            let now = self.now_ms();
            match self.supervisor.poll(now) {
                Order::Start => self.start()?,
                Order::Test => self.test(),
                Order::EndTest => self.end_test(),
                Order::AskToStop => self.signal(self.bundle.stop_signal),
                Order::Kill => self.kill(),
                Order::Finish => return self.finish(),
                Order::Wait { until_ms } => {
                    let wait_ms = until_ms.map(|until_ms| until_ms.saturating_sub(now));
                    self.wait(wait_ms)
                        .map_err(|error| format!("waiting: {error}"))?;
                    continue;
                }
            }
            self.publish();
        }
    }

    fn start(&mut self) -> Result<(), String> {
        self.oom_kills = self.cgroup.oom_kills();
        let started = spawn::start(&self.bundle, &self.cgroup);
        let now = self.now_ms();
        match started {
            Ok((running, output)) => {
                self.running = Some(running);
                self.output = output;
                self.supervisor.handle(now, Happened::Started);
                self.answer_once(Ok(()));
            }
            // What cannot even be started the first time is an error of the step, not a crash.
            Err(why) if !self.answered => {
                self.clean();
                return Err(self.refuse(why));
            }
            Err(why) => {
                self.say(&why);
                self.supervisor.handle(now, Happened::Started);
                self.supervisor.handle(
                    now,
                    Happened::Ended(Exit {
                        status: 127,
                        out_of_memory: false,
                    }),
                );
            }
        }
        Ok(())
    }

    fn refuse(&mut self, why: String) -> String {
        self.answer_once(Err(why.clone()));
        why
    }

    fn answer_once(&mut self, outcome: Result<(), String>) {
        if self.answered {
            return;
        }
        self.answered = true;
        self.publish();
        answer(&outcome);
        // Whoever holds the other end must not wait for the container's whole life.
        if let Ok(nothing) = std::fs::File::options().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&nothing);
            let _ = rustix::stdio::dup2_stderr(&nothing);
        }
    }

    /// Waits for the first of: an order, output, an end, a time.
    fn wait(&mut self, wait_ms: Option<u64>) -> io::Result<()> {
        let timeout = wait_ms.map(|ms| Timespec {
            tv_sec: (ms / 1000) as i64,
            tv_nsec: (ms % 1000 * 1_000_000) as _,
        });
        let tested = self.test.as_ref().map(pidfd).transpose()?;
        let ready = {
            let mut fds: Vec<BorrowedFd<'_>> = vec![self.control.as_fd()];
            fds.extend(self.running.iter().map(|running| running.ended.as_fd()));
            fds.extend(tested.iter().map(OwnedFd::as_fd));
            fds.extend(self.output.fds());
            let mut polled: Vec<PollFd<'_>> = fds
                .iter()
                .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
                .collect();
            match rustix::event::poll(&mut polled, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => return Ok(()),
                done => done?,
            }
        };
        if ready > 0 {
            self.take_in()?;
        }
        Ok(())
    }

    fn take_in(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64];
        while let Ok(length) = self.control.recv(&mut buffer) {
            if &buffer[..length] == STOP {
                self.supervisor.handle(self.now_ms(), Happened::StopAsked);
            }
        }
        self.output.pump(&mut self.log);
        let tested = match &mut self.test {
            Some(test) => test.try_wait()?,
            None => None,
        };
        if let Some(status) = tested {
            self.test = None;
            let passed = status.success();
            self.supervisor
                .handle(self.now_ms(), Happened::Tested { passed });
            self.publish();
        }
        let ended = match &mut self.running {
            Some(running) => running.child.try_wait()?,
            None => None,
        };
        if let Some(status) = ended {
            self.ended(status);
        }
        Ok(())
    }

    fn ended(&mut self, status: std::process::ExitStatus) {
        use std::os::unix::process::ExitStatusExt as _;
        self.end_test();
        self.kill_rest();
        self.output.finish(&mut self.log);
        self.running = None;
        let status = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1);
        let out_of_memory = self.cgroup.oom_kills() > self.oom_kills;
        let now = self.now_ms();
        self.supervisor.handle(
            now,
            Happened::Ended(Exit {
                status,
                out_of_memory,
            }),
        );
        self.publish();
    }

    fn test(&mut self) {
        let Some(running) = &self.running else { return };
        match probe::start(&self.bundle, running, &self.cgroup) {
            Ok(test) => self.test = Some(test),
            Err(why) => {
                self.say(&format!("the health test cannot run: {why}"));
                self.supervisor
                    .handle(self.now_ms(), Happened::Tested { passed: false });
            }
        }
    }

    fn end_test(&mut self) {
        if let Some(mut test) = self.test.take() {
            let _ = test.kill();
            let _ = test.wait();
        }
    }

    fn signal(&self, number: i32) {
        if let (Some(running), Some(signal)) = (&self.running, Signal::from_named_raw(number)) {
            // It may just have ended.
            let _ = rustix::process::pidfd_send_signal(&running.ended, signal);
        }
    }

    fn kill(&self) {
        self.signal(Signal::KILL.as_raw());
    }

    /// A container that shares the host's process namespace leaves others behind when its first ends.
    fn kill_rest(&self) {
        for process in self.cgroup.processes() {
            if let Some(process) = rustix::process::Pid::from_raw(process) {
                let _ = rustix::process::kill_process(process, Signal::KILL);
            }
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        self.clean();
        self.publish();
        Ok(())
    }

    fn clean(&mut self) {
        self.kill_rest();
        // Killed processes take a moment to leave; the daemon removes what stays.
        let _ = self.cgroup.remove();
    }

    /// Puts a word of the engine's own into the container's log.
    fn say(&mut self, text: &str) {
        let _ = self.log.write(
            super::log::Stream::Error,
            format!("lightshipd: {text}").as_bytes(),
        );
    }

    fn publish(&self) {
        let state = State {
            name: self.bundle.name.clone(),
            instance: self.bundle.digest.clone(),
            shim: std::process::id() as i32,
            process: self
                .running
                .as_ref()
                .map(|running| running.child.id() as i32),
            is_job: self.bundle.spec.run == lightship_spec::container::Run::Job,
            phase: self.supervisor.phase(),
            starts: self.supervisor.starts(),
            last_exit: self.supervisor.last_exit(),
            warnings: self.warnings.clone(),
            has_groups: self.cgroup.is_any(),
        };
        if state.write(&self.bundle.folder).is_ok() {
            notify(&self.bundle.folder, &self.bundle.id);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Tells the daemon that a state changed. Without a daemon, nobody hears it: it reads all at its start.
fn notify(folder: &Path, id: &str) {
    let Some(ear) = folder.parent().map(|parent| parent.join("changes")) else {
        return;
    };
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(id.as_bytes(), ear);
    }
}

fn pidfd(child: &std::process::Child) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a child has a number");
    Ok(rustix::process::pidfd_open(
        pid,
        rustix::process::PidfdFlags::empty(),
    )?)
}

/// This program, to be run again.
fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}
