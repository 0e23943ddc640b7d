//! What the kernel has to offer.

use std::fs;
use std::path::Path;

use super::Finding;

/// What containers need.
pub(super) fn containers() -> Vec<Finding> {
    vec![overlay(), namespaces(), cgroups(), nftables(), seccomp()]
}

/// What the tunnel needs, or does well with.
pub(super) fn tunnel() -> Vec<Finding> {
    let tun = Path::new("/dev/net/tun").exists();
    let wireguard = Path::new("/sys/module/wireguard").exists() || has_module("wireguard");
    vec![
        if wireguard {
            Finding::good("WireGuard", "the kernel has it")
        } else {
            Finding::warning(
                "WireGuard",
                "the kernel does not have it",
                "nothing need be done: the tunnel then runs in the daemon, at some cost of speed",
            )
        },
        if tun {
            Finding::good("TUN", "/dev/net/tun is there")
        } else {
            Finding::warning(
                "TUN",
                "there is no /dev/net/tun",
                "load it if other programs are to reach the tunnel: modprobe tun",
            )
        },
    ]
}

fn overlay() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known
        .lines()
        .any(|line| line.trim_start_matches("nodev").trim() == "overlay")
    {
        Finding::good("overlayfs", "the kernel has it")
    } else if has_module("overlay") {
        Finding::good("overlayfs", "the kernel has it as a module")
    } else {
        Finding::bad(
            "overlayfs",
            "the kernel does not have it",
            "use a kernel with CONFIG_OVERLAY_FS, or engine = \"none\"",
        )
    }
}

fn namespaces() -> Finding {
    let wanted = ["mnt", "net", "pid", "uts", "ipc"];
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|name| !Path::new("/proc/self/ns").join(name).exists())
        .collect();
    if !missing.is_empty() {
        let found = format!("the kernel has no {} namespaces", missing.join(" and "));
        return Finding::bad(
            "namespaces",
            found,
            "use a kernel with CONFIG_NAMESPACES and all below it",
        );
    }
    if !rustix::process::geteuid().is_root() {
        return Finding::warning(
            "namespaces",
            "are there, but this is not root",
            "run lightshipd (and this) as root: it starts containers",
        );
    }
    Finding::good("namespaces", "the kernel has all that containers need")
}

fn cgroups() -> Finding {
    let advice = "on a Raspberry Pi add `cgroup_enable=memory cgroup_memory=1` to /boot/firmware/cmdline.txt and restart it; elsewhere mount cgroups";
    let wanted = ["memory", "pids", "cpu"];
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    let there: Vec<String> = match v2 {
        Ok(controllers) => controllers.split_whitespace().map(str::to_owned).collect(),
        Err(_) => mounted_v1(),
    };
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|name| !there.iter().any(|found| found == name))
        .collect();
    if missing.is_empty() {
        return Finding::good("cgroups", "memory, processes and CPU can be limited");
    }
    let found = format!("{} cannot be limited", missing.join(" and "));
    Finding::warning("cgroups", found, advice)
}

fn mounted_v1() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut all = Vec::new();
    for mount in mounts.lines() {
        let mut words = mount.split_whitespace().skip(2);
        if words.next() == Some("cgroup") {
            let options = words.next().unwrap_or_default();
            all.extend(options.split(',').map(str::to_owned));
        }
    }
    all
}

fn nftables() -> Finding {
    let there = Path::new("/proc/net/netfilter/nf_log").exists()
        || Path::new("/sys/module/nf_tables").exists()
        || has_module("nf_tables");
    if there {
        Finding::good("nftables", "the kernel has it")
    } else {
        Finding::bad(
            "nftables",
            "the kernel does not have it",
            "use a kernel with CONFIG_NF_TABLES, or network_mode: host for every service",
        )
    }
}

fn seccomp() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if status.lines().any(|line| line.starts_with("Seccomp:")) {
        Finding::good("seccomp", "the kernel filters system calls")
    } else {
        Finding::bad(
            "seccomp",
            "the kernel does not filter system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )
    }
}

/// Whether the kernel could load it, or has it built in.
fn has_module(name: &str) -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let folder = Path::new("/lib/modules").join(release);
    let file = |list: &str| fs::read_to_string(folder.join(list)).unwrap_or_default();
    let wanted = format!("/{name}.ko");
    [file("modules.dep"), file("modules.builtin")]
        .iter()
        .any(|list| list.contains(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_that_is_not_good_has_advice() {
        for finding in containers().into_iter().chain(tunnel()) {
            let is_good = finding.verdict == super::super::Verdict::Good;
            assert_eq!(finding.advice.is_none(), is_good, "{finding:?}");
        }
    }
}
