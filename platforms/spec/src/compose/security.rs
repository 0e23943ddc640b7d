//! What a container may do to its device.

use std::collections::BTreeSet;

use super::field::{Field, Fields};
use super::process::is_absolute;
use crate::container::{ContainerSpec, Device, Security};
use crate::problem::{Collector, nearest};

pub(crate) fn read(
    fields: &mut Fields<'_>,
    spec: &mut ContainerSpec,
    problems: &mut Collector<'_>,
) {
    let security = &mut spec.security;
    let mut flag = |name| fields.take(name).and_then(|f| f.boolean(problems)) == Some(true);
    security.privileged = flag("privileged");
    security.read_only_root = flag("read_only");
    let mut host = |name, others: &[&str]| {
        let expected = if others.is_empty() {
            "host"
        } else {
            "host or private"
        };
        let word = fields.take(name).and_then(|f| {
            f.parsed(problems, expected, |t| {
                (t == "host" || others.contains(&t)).then_some(t)
            })
        });
        word == Some("host")
    };
    security.host_pid = host("pid", &[]);
    security.host_ipc = host("ipc", &["private"]);
    security.host_uts = host("uts", &[]);
    // There are no user namespaces, so `host` is what is there anyway.
    host("userns_mode", &[]);
    security.cap_add = capabilities(fields.take("cap_add"), problems);
    security.cap_drop = capabilities(fields.take("cap_drop"), problems);
    for option in fields
        .take("security_opt")
        .map(|f| f.items(problems))
        .unwrap_or_default()
    {
        read_option(&option, security, problems);
    }
    for item in fields
        .take("devices")
        .map(|f| f.items(problems))
        .unwrap_or_default()
    {
        spec.devices.extend(device(&item, problems));
    }
    for item in fields
        .take("device_cgroup_rules")
        .map(|f| f.items(problems))
        .unwrap_or_default()
    {
        let rule = item.parsed(problems, "a rule such as c 188:* rwm", |t| {
            is_rule(t).then(|| t.to_owned())
        });
        spec.device_rules.extend(rule);
    }
}

fn read_option(field: &Field<'_>, security: &mut Security, problems: &mut Collector<'_>) {
    let Some(text) = field.text(problems) else {
        return;
    };
    let (name, value) = text.split_once([':', '=']).unwrap_or((text, ""));
    match (name, value) {
        ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
        ("no-new-privileges", "false") => security.no_new_privileges = false,
        ("seccomp", "unconfined") => security.seccomp_unconfined = true,
        // Devices have neither AppArmor nor SELinux around containers: this is what they do anyway.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        _ => {
            let help =
                "known: no-new-privileges, seccomp=unconfined, apparmor=unconfined, label=disable";
            field.wrong(problems, format!("unknown option {text:?}"), help);
        }
    }
}

fn capabilities(field: Option<Field<'_>>, problems: &mut Collector<'_>) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for item in field.map(|f| f.items(problems)).unwrap_or_default() {
        let Some(text) = item.text(problems) else {
            continue;
        };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" || CAPABILITIES.contains(&name) {
            set.insert(name.to_owned());
            continue;
        }
        let help = match nearest(name, CAPABILITIES.iter().copied()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "see capabilities(7)".to_owned(),
        };
        item.wrong(problems, format!("{text:?} is not a capability"), &help);
    }
    set
}

const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// `host[:container[:rwm]]` or a mapping.
fn device(item: &Field<'_>, problems: &mut Collector<'_>) -> Option<Device> {
    if !item.is_mapping() {
        let expected = "a device such as /dev/i2c-1 or /dev/ttyS0:/dev/ttyUSB0:rw";
        return item.parsed(problems, expected, short_device);
    }
    let mut fields = item.fields(problems)?;
    let host = fields.demand("source", problems);
    let container = fields.take("target");
    let access = fields.take("permissions");
    fields.finish(&[], problems);
    let path = |f: Field<'_>, problems: &mut Collector<'_>| {
        f.parsed(problems, "an absolute path", |t| {
            is_absolute(t).then(|| t.to_owned())
        })
    };
    let host = path(host?, problems)?;
    let container = match container {
        Some(field) => path(field, problems)?,
        None => host.clone(),
    };
    let access = match access {
        Some(field) => field.parsed(problems, "letters of rwm", |t| {
            is_access(t).then(|| t.to_owned())
        })?,
        None => "rwm".to_owned(),
    };
    Some(Device {
        host,
        container,
        access,
    })
}

fn short_device(text: &str) -> Option<Device> {
    let mut parts = text.split(':');
    let host = parts.next()?;
    let second = parts.next();
    let (container, access) = match (second, parts.next()) {
        (Some(access), None) if is_access(access) => (host, access),
        (container, access) => (container.unwrap_or(host), access.unwrap_or("rwm")),
    };
    let fits = is_absolute(host) && is_absolute(container) && is_access(access);
    (fits && parts.next().is_none()).then(|| Device {
        host: host.to_owned(),
        container: container.to_owned(),
        access: access.to_owned(),
    })
}

fn is_access(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.chars().all(|c| "rwm".contains(c))
}

/// `c 188:* rwm`, as the kernel's devices cgroup has it.
fn is_rule(text: &str) -> bool {
    let mut parts = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let number = |t: &str| t == "*" || t.parse::<u32>().is_ok();
    let numbers = numbers
        .split_once(':')
        .is_some_and(|(major, minor)| number(major) && number(minor));
    matches!(kind, "a" | "b" | "c") && numbers && is_access(access)
}
