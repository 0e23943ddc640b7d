//! Runs another command in a container that runs.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child as Process, Command, ExitCode, Stdio};

use rustix::process::Signal;
use rustix::thread::LinkNameSpaceType;
use serde::{Deserialize, Serialize};

use super::bundle::Bundle;
use super::capabilities::Capabilities;
use super::cgroup::Cgroup;
use super::child::{become_user, oom_score, session, working_folder};
use super::rootfs::{Context as _, Failure};
use super::state::State;
use super::{seccomp, sys, user};

/// What to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// Beside the container's own environment.
    pub environment: Vec<(String, String)>,
    /// `user[:group]`; absent means the container's.
    pub user: Option<String>,
    /// Absent means the container's.
    pub working_dir: Option<String>,
    /// Whether standard input is a terminal that becomes the command's own.
    pub terminal: bool,
}

/// Runs `shim exec FOLDER REQUEST`: descriptors 0 to 2 become the command's, its status this process's.
pub(super) fn main(arguments: &[String]) -> ExitCode {
    match run(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(126)
        }
    }
}

fn run(arguments: &[String]) -> Result<u8, String> {
    use std::os::unix::process::ExitStatusExt as _;
    let [folder, request] = arguments else {
        return Err("wrong arguments".to_owned());
    };
    let told = |error: io::Error| error.to_string();
    let request: Request = serde_json::from_str(request).map_err(|error| error.to_string())?;
    let folder = Path::new(folder);
    let bytes = fs::read(folder.join("bundle")).map_err(told)?;
    let bundle: Bundle = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let state = State::read(folder).map_err(told)?;
    let (process, has_groups) = state
        .and_then(|state| Some((state.process?, state.has_groups)))
        .ok_or("the container does not run")?;
    let cgroup = match has_groups {
        true => Cgroup::of(&bundle.cgroup_parent, &bundle.id),
        false => Cgroup::none(),
    };
    let network = namespace(process, "net").map_err(told)?;
    rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| error.to_string())?;
    let streams = [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()];
    let mut child = start(&bundle, process, &cgroup, &request, streams)?;
    let status = child.wait().map_err(told)?;
    let status = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(255);
    Ok(u8::try_from(status).unwrap_or(255))
}

/// Starts a command in the container of `process`, whose network the caller is in already.
pub(super) fn start(
    bundle: &Bundle,
    process: i32,
    cgroup: &Cgroup,
    request: &Request,
    streams: [Stdio; 3],
) -> Result<Process, String> {
    let told = |error: io::Error| error.to_string();
    let capabilities =
        Capabilities::of(&bundle.spec.security).map_err(|error| error.to_string())?;
    let (program, arguments) = request.arguments.split_first().ok_or("nothing to run")?;
    let mut command = Command::new(program);
    let environment = bundle.environment.iter().chain(&request.environment);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.map(|(name, value)| (name, value)));
    let [stdin, stdout, stderr] = streams;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let names = [
        ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
        ("ipc", LinkNameSpaceType::InterProcessCommunication),
        ("cgroup", LinkNameSpaceType::ControlGroup),
        ("mnt", LinkNameSpaceType::Mount),
    ];
    let mut namespaces = Vec::new();
    for (name, kind) in names {
        namespaces.push((namespace(process, name).map_err(told)?, kind));
    }
    let security = &bundle.spec.security;
    let filter = (!security.privileged && !security.seccomp_unconfined)
        .then(|| seccomp::filter(capabilities));
    let (bundle, request, cgroup) = (bundle.clone(), request.clone(), cgroup.clone());
    let (mut reason, teller) = io::pipe().map_err(told)?;
    let pids = namespace(process, "pid").map_err(told)?;
    sys::before_exec(&mut command, move || {
        let enter = || -> Result<(), Failure> {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .context(|| "binding it to its helper".to_owned())?;
            session(request.terminal)?;
            oom_score(&bundle.spec)?;
            cgroup.join().context(|| "joining the cgroup".to_owned())?;
            for (file, kind) in &namespaces {
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(*kind))
                    .context(|| "entering the container".to_owned())?;
            }
            let name = request.user.as_deref().unwrap_or(&bundle.user);
            let user = user::resolve(Path::new("/"), name, &bundle.spec.group_add)
                .context(|| "finding the user".to_owned())?;
            become_user(
                &user,
                capabilities,
                bundle.spec.security.no_new_privileges,
                filter.as_deref(),
            )?;
            working_folder(
                request
                    .working_dir
                    .as_deref()
                    .unwrap_or(&bundle.working_dir),
            )
        };
        enter().map_err(|failure| {
            let mut teller = &teller;
            let _ = teller.write_all(failure.0.as_bytes());
            io::Error::other("the reason is in the pipe")
        })
    });
    let own = fs::File::open("/proc/self/ns/pid").map_err(told)?;
    let into = |file: &fs::File| {
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::ProcessID))
    };
    into(&pids).map_err(|error| error.to_string())?;
    let spawned = command.spawn();
    into(&own).map_err(|error| error.to_string())?;
    drop(command);
    spawned.map_err(|error| {
        let mut why = String::new();
        let _ = reason.read_to_string(&mut why);
        if why.is_empty() {
            format!("{program}: {error}")
        } else {
            why
        }
    })
}

fn namespace(process: i32, name: &str) -> io::Result<fs::File> {
    fs::File::open(format!("/proc/{process}/ns/{name}"))
}
