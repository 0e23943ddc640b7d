//! What happens between `fork` and `execve` of a container's first process.

use std::io;
use std::path::{Path, PathBuf};

use lightship_spec::container::{ContainerSpec, Ulimit};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;

use super::bundle::Bundle;
use super::capabilities::Capabilities;
use super::cgroup::Cgroup;
use super::rootfs::{self, Context as _, Failure};
use super::sys::{self, Instruction};
use super::user::{self, User};

/// All that the new process needs, computed before it exists.
pub(super) struct Child {
    pub(super) bundle: Bundle,
    pub(super) cgroup: Cgroup,
    pub(super) capabilities: Capabilities,
    pub(super) filter: Option<Vec<Instruction>>,
    pub(super) terminal: Option<PathBuf>,
}

impl Child {
    /// Becomes the container; what is left to do is `execve`.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        // Whoever lost its shim would run on with nobody to see it end.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .context(|| "binding it to its shim".to_owned())?;
        session(self.terminal.is_some())?;
        self.cgroup
            .join()
            .context(|| "joining its cgroup".to_owned())?;
        let security = &self.bundle.spec.security;
        let mut namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP;
        namespaces.set(UnshareFlags::NEWUTS, !security.host_uts);
        namespaces.set(UnshareFlags::NEWIPC, !security.host_ipc);
        sys::unshare(namespaces).context(|| "making its namespaces".to_owned())?;
        if !security.host_uts {
            rustix::system::sethostname(self.bundle.hostname.as_bytes())
                .context(|| "setting its host name".to_owned())?;
        }
        rootfs::enter(&self.bundle, self.terminal.as_deref())?;
        oom_score(&self.bundle.spec)?;
        ulimits(&self.bundle.spec)?;
        let user = user::resolve(
            Path::new("/"),
            &self.bundle.user,
            &self.bundle.spec.group_add,
        )
        .context(|| "finding its user".to_owned())?;
        become_user(
            &user,
            self.capabilities,
            security.no_new_privileges,
            self.filter.as_deref(),
        )?;
        working_folder(&self.bundle.working_dir)?;
        if self.bundle.spec.init {
            sys::split_off_init().context(|| "starting its init".to_owned())?;
        }
        Ok(())
    }
}

/// A session of its own, with the terminal on descriptor 0 where there is one.
pub(super) fn session(terminal: bool) -> Result<(), Failure> {
    rustix::process::setsid().context(|| "starting a session".to_owned())?;
    if terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .context(|| "taking the terminal".to_owned())?;
    }
    Ok(())
}

/// Gives up what is not allowed: privileges, capabilities, system calls.
pub(super) fn become_user(
    user: &User,
    capabilities: Capabilities,
    no_new_privileges: bool,
    filter: Option<&[Instruction]>,
) -> Result<(), Failure> {
    let what = || "giving up privileges".to_owned();
    for capability in capabilities.lacking() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A capability that this kernel does not know, or one that is gone already and cannot be
            // taken by a process that is not allowed to take any.
            Err(rustix::io::Errno::INVAL) => {}
            done => done.context(what)?,
        }
    }
    rustix::thread::set_no_new_privs(no_new_privileges)
        .or_else(|error| {
            // Zero cannot be set: it is what there is from the start.
            if no_new_privileges {
                Err(error)
            } else {
                Ok(())
            }
        })
        .context(what)?;
    // Without `no_new_privs` only a privileged thread may filter itself, so this comes first.
    if let Some(filter) = filter {
        sys::load_filter(filter).context(|| "filtering system calls".to_owned())?;
    }
    let groups: Vec<_> = user
        .groups
        .iter()
        .map(|group| rustix::process::Gid::from_raw(*group))
        .collect();
    rustix::thread::set_keep_capabilities(true).context(what)?;
    match rustix::thread::set_thread_groups(&groups) {
        Err(rustix::io::Errno::PERM) if keeps_groups() => {}
        set => set.context(what)?,
    }
    let gid = rustix::process::Gid::from_raw(user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(what)?;
    let uid = rustix::process::Uid::from_raw(user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(what)?;
    rustix::thread::set_keep_capabilities(false).context(what)?;
    // Those of a root user come back at `execve` out of the bounding set, which is what is wanted; other
    // users have none. The process may only lower what it has itself.
    let held = rustix::thread::capabilities(None).context(what)?;
    let kept = if user.uid == 0 {
        capabilities.set() & held.permitted
    } else {
        rustix::thread::CapabilitySet::empty()
    };
    let sets = rustix::thread::CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).context(what)
}

/// Whether this user namespace was made by somebody who may not change groups (user_namespaces(7)): then nobody in it can.
fn keeps_groups() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|said| said.starts_with(b"deny"))
}

pub(super) fn working_folder(path: &str) -> Result<(), Failure> {
    match std::env::set_current_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path)
                .context(|| format!("making the working folder {path}"))?;
            std::env::set_current_dir(path)
                .context(|| format!("entering the working folder {path}"))
        }
        done => done.context(|| format!("entering the working folder {path}")),
    }
}

pub(super) fn oom_score(spec: &ContainerSpec) -> Result<(), Failure> {
    let score = spec.limits.oom_score_adj.unwrap_or(0);
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
        .context(|| "setting its OOM score".to_owned())
}

fn ulimits(spec: &ContainerSpec) -> Result<(), Failure> {
    for (name, limit) in &spec.ulimits {
        let Some(resource) = resource(name) else {
            continue;
        };
        let value = |number: u64| (number != u64::MAX).then_some(number);
        let limit = Rlimit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        rustix::process::setrlimit(resource, limit)
            .context(|| format!("setting the limit {name}"))?;
    }
    Ok(())
}

/// A limit by its name in Compose.
pub(super) fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// Whether a limit makes sense.
pub(crate) fn is_limit(name: &str, limit: &Ulimit) -> bool {
    resource(name).is_some() && limit.soft <= limit.hard
}
