//! Memory, CPUs, processes, POSIX limits, kernel parameters and log sizes; also `deploy`, which names some
//! of them a second time.

use super::field::{Field, Fields};
use super::quantity::{BYTES, CPUS, bytes, cpu_millis, duration_ms};
use super::{environment, process, unsupported};
use crate::container::{ContainerSpec, Feature, Limits, Restart, Ulimit};
use crate::problem::Collector;

pub(crate) fn read(
    fields: &mut Fields<'_>,
    spec: &mut ContainerSpec,
    problems: &mut Collector<'_>,
) {
    if let Some(deploy) = fields.take("deploy") {
        read_deploy(&deploy, spec, problems);
    }
    let limits = &mut spec.limits;
    let mut size = |name, value: &mut Option<u64>| {
        if let Some(field) = fields.take(name) {
            *value = field.parsed(problems, BYTES, bytes);
        }
    };
    size("mem_limit", &mut limits.memory_bytes);
    size("mem_reservation", &mut limits.memory_reservation_bytes);
    if let Some(field) = fields.take("memswap_limit") {
        swap(&field, limits, problems);
    }
    if let Some(field) = fields.take("cpus") {
        limits.cpu_millis = field.parsed(problems, CPUS, cpu_millis);
    }
    quota(fields, spec, problems);
    let limits = &mut spec.limits;
    if let Some(field) = fields.take("cpu_shares") {
        let expected = "a number from 2 to 262144";
        limits.cpu_shares = field.parsed(problems, expected, |t| within(t, 2, 262_144));
    }
    limits.cpuset = fields.take("cpuset").and_then(|field| {
        field.parsed(problems, "CPUs such as 0-2,4", |t| {
            is_cpu_set(t).then(|| t.to_owned())
        })
    });
    if let Some(field) = fields.take("pids_limit") {
        limits.pids = match field.raw_text() {
            Some("-1") => None,
            _ => pids(&field, problems),
        };
    }
    limits.oom_score_adj = fields.take("oom_score_adj").and_then(|field| {
        field.parsed(problems, "a number from -1000 to 1000", |t| {
            within(t, -1000, 1000)
        })
    });
    if let Some(field) = fields.take("oom_kill_disable") {
        spec.limits.oom_kill_disable = field.boolean(problems) == Some(true);
        if spec.limits.oom_kill_disable && spec.limits.memory_bytes.is_none() {
            // It would be the whole device that waits for memory.
            field.wrong(
                problems,
                "has no memory limit to keep to",
                "add mem_limit, or remove it",
            );
        }
    }
    if let Some(field) = fields.take("ulimits") {
        for (key, limit) in field.entries(problems) {
            let limit = ulimit(&key.name, &limit, problems);
            spec.ulimits
                .extend(limit.map(|limit| (key.name.clone(), limit)));
        }
    }
    if let Some(field) = fields.take("sysctls") {
        sysctls(&field, spec, problems);
    }
}

/// Memory and swap together; -1 is Compose's word for no limit, which is what absence means here.
fn swap(field: &Field<'_>, limits: &mut Limits, problems: &mut Collector<'_>) {
    if field.raw_text() == Some("-1") {
        return;
    }
    limits.memory_swap_bytes = field.parsed(problems, BYTES, bytes);
    let Some(both) = limits.memory_swap_bytes else {
        return;
    };
    if limits.memory_bytes.is_none_or(|memory| memory > both) {
        let help = "set mem_limit to as much or less";
        field.wrong(problems, "is memory and swap together", help);
    }
}

fn within<T: std::str::FromStr + PartialOrd>(text: &str, least: T, most: T) -> Option<T> {
    text.parse()
        .ok()
        .filter(|number| *number >= least && *number <= most)
}

fn pids(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<u32> {
    field.parsed(problems, "a number of processes from 1 to 4194304", |t| {
        within(t, 1, 4_194_304)
    })
}

/// `cpu_quota` in each `cpu_period`, both in microseconds.
fn quota(fields: &mut Fields<'_>, spec: &mut ContainerSpec, problems: &mut Collector<'_>) {
    let micros = |text: &str| match text.parse::<u64>() {
        Ok(number) => (1_000..=1_000_000_000).contains(&number).then_some(number),
        Err(_) => duration_ms(text).map(|ms| ms * 1000).filter(|us| *us > 0),
    };
    let expected = "microseconds from 1000, or a duration";
    let period = fields
        .take("cpu_period")
        .and_then(|f| f.parsed(problems, expected, micros));
    let Some(field) = fields.take("cpu_quota") else {
        return;
    };
    let Some(quota) = field.parsed(problems, expected, micros) else {
        return;
    };
    let millis = quota.saturating_mul(1000) / period.unwrap_or(100_000);
    spec.limits.cpu_millis = u32::try_from(millis).ok().filter(|millis| *millis > 0);
    if spec.limits.cpu_millis.is_none() {
        field.wrong(problems, "is less than a thousandth of a CPU", "use cpus");
    }
}

fn is_cpu_set(text: &str) -> bool {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => first <= last,
            _ => false,
        }
    };
    text.split(',').all(range)
}

fn ulimit(name: &str, field: &Field<'_>, problems: &mut Collector<'_>) -> Option<Ulimit> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    if !NAMES.contains(&name) {
        field.wrong(
            problems,
            "not a limit",
            &format!("the limits are {}", NAMES.join(", ")),
        );
        return None;
    }
    let number = |f: &Field<'_>, problems: &mut Collector<'_>| {
        f.parsed(problems, "a number, or -1 for unlimited", |t| match t {
            "-1" | "unlimited" => Some(u64::MAX),
            t => t.parse().ok(),
        })
    };
    if !field.is_mapping() {
        let both = number(field, problems)?;
        return Some(Ulimit {
            soft: both,
            hard: both,
        });
    }
    let mut fields = field.fields(problems)?;
    let soft = fields.demand("soft", problems);
    let hard = fields.demand("hard", problems);
    fields.finish(&[], problems);
    let soft = number(&soft?, problems)?;
    let hard = number(&hard?, problems)?;
    if soft > hard {
        field.wrong(
            problems,
            "the soft limit is above the hard limit",
            "lower soft or raise hard",
        );
    }
    Some(Ulimit { soft, hard })
}

/// Only what a container has of its own; anything else would be set for the whole device.
fn sysctls(field: &Field<'_>, spec: &mut ContainerSpec, problems: &mut Collector<'_>) {
    const NAMES: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.domainname",
    ];
    for pair in environment::pairs(field, problems) {
        let own = NAMES.contains(&pair.name.as_str())
            || pair.name.starts_with("net.")
            || pair.name.starts_with("fs.mqueue.");
        let clean = pair
            .name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        match pair.value {
            Some(value) if own && clean => {
                spec.sysctls.insert(pair.name, value);
            }
            Some(_) => {
                let what = format!("{} is not a parameter of a container", pair.name);
                pair.at.wrong(
                    problems,
                    what,
                    "allowed are net.*, fs.mqueue.* and those of System V IPC",
                );
            }
            None => pair.at.wrong(
                problems,
                format!("{} has no value", pair.name),
                "write name=value",
            ),
        }
    }
}

/// The size that all log files of the container may have together.
pub(crate) fn log_bytes(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<u64> {
    let mut fields = field.fields(problems)?;
    if let Some(driver) = fields.take("driver") {
        let expected =
            "json-file or local: the engine keeps the output itself and streams it to the fleet";
        driver.parsed(problems, expected, |t| {
            matches!(t, "json-file" | "local").then_some(())
        });
    }
    let options = fields.take("options").and_then(|f| f.fields(problems));
    fields.finish(&[], problems);
    let mut options = options?;
    let size = options
        .take("max-size")
        .and_then(|f| f.parsed(problems, BYTES, bytes));
    let files = options.take("max-file");
    let files =
        files.and_then(|f| f.parsed(problems, "a number from 1 to 1000", |t| within(t, 1, 1000)));
    options.finish(&[], problems);
    size.map(|size| size.saturating_mul(files.unwrap_or(1)))
}

fn read_deploy(field: &Field<'_>, spec: &mut ContainerSpec, problems: &mut Collector<'_>) {
    let Some(mut fields) = field.fields(problems) else {
        return;
    };
    process::one_of_it(fields.take("replicas"), problems);
    if let Some(policy) = fields.take("restart_policy") {
        restart_policy(&policy, spec, problems);
    }
    if let Some(mut resources) = fields.take("resources").and_then(|f| f.fields(problems)) {
        if let Some(mut most) = resources.take("limits").and_then(|f| f.fields(problems)) {
            let limits = &mut spec.limits;
            limits.cpu_millis = most
                .take("cpus")
                .and_then(|f| f.parsed(problems, CPUS, cpu_millis));
            limits.memory_bytes = most
                .take("memory")
                .and_then(|f| f.parsed(problems, BYTES, bytes));
            limits.pids = most.take("pids").and_then(|f| pids(&f, problems));
            most.finish(&[], problems);
        }
        if let Some(mut least) = resources
            .take("reservations")
            .and_then(|f| f.fields(problems))
        {
            let memory = least.take("memory");
            spec.limits.memory_reservation_bytes =
                memory.and_then(|f| f.parsed(problems, BYTES, bytes));
            if let Some(devices) = least.take("devices") {
                reserved_devices(&devices, spec, problems);
            }
            least.finish(
                &[
                    ("cpus", "use cpu_shares"),
                    ("generic_resources", "use devices"),
                ],
                problems,
            );
        }
        resources.finish(&[], problems);
    }
    fields.finish(unsupported::DEPLOY, problems);
}

fn reserved_devices(field: &Field<'_>, spec: &mut ContainerSpec, problems: &mut Collector<'_>) {
    for device in field.items(problems) {
        let Some(mut fields) = device.fields(problems) else {
            continue;
        };
        let capabilities = fields.demand("capabilities", problems);
        for capability in capabilities.map(|f| f.items(problems)).unwrap_or_default() {
            let gpu = capability.parsed(problems, "gpu", |t| (t == "gpu").then_some(Feature::Gpu));
            spec.features.extend(gpu);
        }
        let all = "remove it; a container gets all GPUs";
        fields.finish(
            &[
                ("count", all),
                ("device_ids", all),
                ("driver", all),
                ("options", all),
            ],
            problems,
        );
    }
}

fn restart_policy(field: &Field<'_>, spec: &mut ContainerSpec, problems: &mut Collector<'_>) {
    let Some(mut fields) = field.fields(problems) else {
        return;
    };
    let attempts = fields.take("max_attempts");
    let attempts = attempts.and_then(|f| f.parsed(problems, "a number", |t| t.parse::<u32>().ok()));
    for ignored in ["delay", "window"] {
        if let Some(field) = fields.take(ignored) {
            field.wrong(
                problems,
                "not supported",
                "remove it; the engine waits longer after each crash",
            );
        }
    }
    if let Some(condition) = fields.take("condition") {
        let policy = condition.parsed(problems, "none, on-failure or any", |t| match t {
            "none" => Some(Restart::No),
            "on-failure" => Some(Restart::OnFailure { attempts }),
            "any" => Some(Restart::Always),
            _ => None,
        });
        spec.restart = policy.unwrap_or_default();
    }
    fields.finish(&[], problems);
}
