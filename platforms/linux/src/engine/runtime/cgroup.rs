//! Limits of a container: cgroup v2 where the host has it, v1 else.
//!
//! A controller that the kernel lacks (many boards boot without the memory controller) limits nothing;
//! that is a warning, as with Docker, because the alternative is a device that runs nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lightship_spec::container::{ContainerSpec, Limits};

use super::devices::{self, DeviceRule};
use super::sys;

const ROOT: &str = "/sys/fs/cgroup";

/// The period in which CPU time is counted, as Docker has it.
const CPU_PERIOD_US: u64 = 100_000;

/// v1 controllers that a container gets a group of.
const V1: [&str; 6] = ["memory", "cpu", "cpuset", "pids", "devices", "freezer"];

/// The groups of one container.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    /// What all containers of this engine are below: one name.
    parent: String,
    folders: Vec<PathBuf>,
    unified: bool,
}

/// Whether the host has cgroup v2 alone.
pub(crate) fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

impl Cgroup {
    /// The groups of a container, made or not, below `parent`.
    pub(crate) fn of(parent: &str, id: &str) -> Self {
        let unified = is_unified();
        let root = Path::new(ROOT);
        let folders = if unified {
            vec![root.join(parent).join(id)]
        } else {
            let there = V1
                .iter()
                .map(|controller| root.join(controller))
                .filter(|path| path.join("cgroup.procs").exists());
            there.map(|path| path.join(parent).join(id)).collect()
        };
        Self {
            parent: parent.to_owned(),
            folders,
            unified,
        }
    }

    /// Makes the groups and sets the limits; returns what could not be set.
    ///
    /// Where the daemon may make no groups, as in a user namespace that none were delegated to, the container runs without limits.
    pub(crate) fn make(
        &mut self,
        spec: &ContainerSpec,
        own_devices: &[String],
    ) -> io::Result<Vec<String>> {
        match self.make_folders() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.folders.clear();
                return Ok(vec![format!(
                    "no limits are kept, and devices are not filtered: {error}"
                )]);
            }
            made => made?,
        }
        let mut warnings = Vec::new();
        for (controller, file, value) in settings(&spec.limits, self.unified) {
            if let Err(error) = self.set(controller, file, &value) {
                warnings.push(format!("{file} could not be set to {value}: {error}"));
            }
        }
        if spec.limits.oom_kill_disable && self.unified {
            warnings.push(
                "what is over its memory limit is killed: cgroup v2 knows nothing else".to_owned(),
            );
        }
        self.prepare_cpuset()?;
        if !spec.security.privileged {
            let rules: Vec<&str> = devices::DEFAULT
                .into_iter()
                .chain(
                    spec.device_rules
                        .iter()
                        .chain(own_devices)
                        .map(String::as_str),
                )
                .collect();
            if let Err(error) = self.restrict_devices(&rules) {
                // Without rules of its own a container has `nodev` everywhere, which is enough.
                if !spec.device_rules.is_empty() {
                    return Err(error);
                }
                warnings.push(format!("devices are not filtered: {error}"));
            }
        }
        Ok(warnings)
    }

    fn make_folders(&self) -> io::Result<()> {
        if self.unified {
            enable_controllers(&self.parent)?;
        }
        self.folders.iter().try_for_each(fs::create_dir_all)
    }

    /// Those of a container that was started without any.
    pub(crate) fn none() -> Self {
        Self {
            parent: String::new(),
            folders: Vec::new(),
            unified: is_unified(),
        }
    }

    /// Whether there are any: [`Self::make`] finds out.
    pub(crate) fn is_any(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Moves the calling process in.
    pub(crate) fn join(&self) -> io::Result<()> {
        self.folders
            .iter()
            .try_for_each(|folder| fs::write(folder.join("cgroup.procs"), "0"))
    }

    /// The processes that are in.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let Some(folder) = self.folders.first() else {
            return Vec::new();
        };
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// How often the kernel killed something in it for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let Some(folder) = self.folder("memory") else {
            return 0;
        };
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Removes the groups; all processes in them have ended.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for folder in &self.folders {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn folder(&self, controller: &str) -> Option<&PathBuf> {
        let of = |folder: &&PathBuf| folder.iter().any(|part| part == controller);
        if self.unified {
            self.folders.first()
        } else {
            self.folders.iter().find(of)
        }
    }

    fn set(&self, controller: &str, file: &str, value: &str) -> io::Result<()> {
        let folder = self
            .folder(controller)
            .ok_or_else(|| io::Error::other("the kernel has no such controller"))?;
        fs::write(folder.join(file), value)
    }

    /// A v1 cpuset takes no process before it has CPUs and memory nodes.
    fn prepare_cpuset(&self) -> io::Result<()> {
        let Some(folder) = self.folder("cpuset").filter(|_| !self.unified) else {
            return Ok(());
        };
        let parent = folder.parent().expect("a group lies in its parent");
        for group in [parent, folder.as_path()] {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = group
                    .parent()
                    .expect("a group lies in its controller")
                    .join(file);
                if fs::read_to_string(group.join(file))?.trim().is_empty() {
                    fs::write(group.join(file), fs::read_to_string(above)?)?;
                }
            }
        }
        Ok(())
    }

    fn restrict_devices(&self, rules: &[&str]) -> io::Result<()> {
        let absent = || io::Error::other("the kernel has no such controller");
        if self.unified {
            return filter_devices(self.folders.first().ok_or_else(absent)?, rules);
        }
        let folder = self.folder("devices").ok_or_else(absent)?;
        fs::write(folder.join("devices.deny"), "a")?;
        rules
            .iter()
            .try_for_each(|rule| fs::write(folder.join("devices.allow"), rule))
    }
}

/// The devices controller of cgroup v2 is a program.
fn filter_devices(folder: &Path, rules: &[&str]) -> io::Result<()> {
    let parsed = rules.iter().map(|rule| rule.parse::<DeviceRule>());
    let rules: Vec<DeviceRule> = parsed.collect::<Result<_, _>>().map_err(io::Error::other)?;
    sys::attach_device_filter(&fs::File::open(folder)?, &devices::program(&rules))
}

fn enable_controllers(parent: &str) -> io::Result<()> {
    let root = Path::new(ROOT);
    let parent = root.join(parent);
    fs::create_dir_all(&parent)?;
    let available = fs::read_to_string(root.join("cgroup.controllers"))?;
    for controller in ["memory", "cpu", "cpuset", "pids"] {
        if available.split_whitespace().any(|name| name == controller) {
            for group in [root, parent.as_path()] {
                fs::write(
                    group.join("cgroup.subtree_control"),
                    format!("+{controller}"),
                )?;
            }
        }
    }
    Ok(())
}

type Setting = (&'static str, &'static str, String);

/// What to write where: (controller, file, value).
fn settings(limits: &Limits, unified: bool) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add =
        |controller, v1: &'static str, v2: &'static str, value: Option<(String, String)>| {
            if let Some((old, new)) = value {
                settings.push(if unified {
                    (controller, v2, new)
                } else {
                    (controller, v1, old)
                });
            }
        };
    let same = |value: String| Some((value.clone(), value));
    add(
        "memory",
        "memory.limit_in_bytes",
        "memory.max",
        limits
            .memory_bytes
            .and_then(|bytes| same(bytes.to_string())),
    );
    // v1 counts memory and swap together, v2 swap alone.
    let swap = limits.memory_swap_bytes.map(|both| {
        (
            both.to_string(),
            both.saturating_sub(limits.memory_bytes.unwrap_or(0))
                .to_string(),
        )
    });
    add(
        "memory",
        "memory.memsw.limit_in_bytes",
        "memory.swap.max",
        swap,
    );
    let reserved = limits
        .memory_reservation_bytes
        .and_then(|bytes| same(bytes.to_string()));
    add(
        "memory",
        "memory.soft_limit_in_bytes",
        "memory.low",
        reserved,
    );
    let quota = limits
        .cpu_millis
        .map(|millis| u64::from(millis) * CPU_PERIOD_US / 1000);
    add(
        "cpu",
        "cpu.cfs_quota_us",
        "cpu.max",
        quota.map(|us| (us.to_string(), format!("{us} {CPU_PERIOD_US}"))),
    );
    // The kernel maps 2..=262144 to 1..=10000 in this way itself where both are mounted.
    let weight = |shares: u64| 1 + shares.clamp(2, 262_144).saturating_sub(2) * 9999 / 262_142;
    add(
        "cpu",
        "cpu.shares",
        "cpu.weight",
        limits
            .cpu_shares
            .map(|shares| (shares.to_string(), weight(shares).to_string())),
    );
    add(
        "cpuset",
        "cpuset.cpus",
        "cpuset.cpus",
        limits.cpuset.clone().and_then(same),
    );
    add(
        "pids",
        "pids.max",
        "pids.max",
        limits.pids.and_then(|count| same(count.to_string())),
    );
    if limits.oom_kill_disable && !unified {
        settings.push(("memory", "memory.oom_control", "1".to_owned()));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filtered_v2_group_opens_null_and_no_other() {
        let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = mounted
            .into_iter()
            .find(|root| root.join("cgroup.controllers").exists());
        let group = root.map(|root| root.join(format!("lightship-test-{}", std::process::id())));
        let Some(group) = group.filter(|group| fs::create_dir(group).is_ok()) else {
            eprintln!("SKIPPED: filtering devices needs root and cgroup v2");
            return;
        };
        let outcome = filter_devices(&group, &["c 1:3 rw"]);
        let line = format!(
            "echo $$ > {}/cgroup.procs; : < /dev/null && echo null; : < /dev/zero && echo zero",
            group.display()
        );
        let said = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        fs::remove_dir(&group).unwrap();
        outcome.unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "null\n");
    }

    #[test]
    fn the_same_limits_are_written_in_both_versions_words() {
        let limits = Limits {
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(96 << 20),
            cpu_millis: Some(1500),
            cpu_shares: Some(1024),
            pids: Some(50),
            oom_kill_disable: true,
            ..Limits::default()
        };
        let text = |unified| {
            let lines = settings(&limits, unified)
                .into_iter()
                .map(|(_, file, value)| format!("{file}={value}"));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            text(false),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=100663296",
                "cpu.cfs_quota_us=150000",
                "cpu.shares=1024",
                "pids.max=50",
                "memory.oom_control=1",
            ]
        );
        assert_eq!(
            text(true),
            [
                "memory.max=67108864",
                "memory.swap.max=33554432",
                "cpu.max=150000 100000",
                "cpu.weight=39",
                "pids.max=50",
            ]
        );
    }
}
