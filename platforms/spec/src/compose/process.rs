//! What runs in the container and what happens at its end.

use super::field::{Field, Fields};
use super::limits::log_bytes;
use super::quantity::{BYTES, DURATION, bytes, duration_ms, words};
use crate::container::{ContainerSpec, Restart};
use crate::problem::Collector;

/// Fills the spec; says whether the file tells what happens when the container ends by itself.
pub(crate) fn read(
    fields: &mut Fields<'_>,
    spec: &mut ContainerSpec,
    problems: &mut Collector<'_>,
) -> bool {
    let mut take = |name| fields.take(name);
    spec.command = take("command").and_then(|f| command_line(&f, problems));
    spec.entrypoint = take("entrypoint").and_then(|f| command_line(&f, problems));
    spec.user = take("user").and_then(|f| {
        f.parsed(problems, "user, uid, user:group or uid:gid", |t| {
            is_user(t).then(|| t.to_owned())
        })
    });
    if let Some(groups) = take("group_add") {
        let groups = groups.items(problems);
        spec.group_add = groups
            .iter()
            .filter_map(|f| Some(f.text(problems)?.to_owned()))
            .collect();
    }
    spec.working_dir = take("working_dir").and_then(|f| absolute(&f, problems));
    spec.hostname = take("hostname").and_then(|f| {
        f.parsed(problems, "a host name of letters, digits, - and .", |t| {
            is_host_name(t).then(|| t.to_owned())
        })
    });
    if let Some(field) = take("domainname") {
        let domain = field.parsed(problems, "a domain", |t| is_host_name(t).then_some(t));
        match (&mut spec.hostname, domain) {
            // The whole name, which is what `hostname -f` and `hostname` both say then.
            (Some(name), Some(domain)) => *name = format!("{name}.{domain}"),
            (None, Some(_)) => {
                field.wrong(problems, "has no effect without a hostname", "add hostname")
            }
            (_, None) => {}
        }
    }
    spec.stop_signal = take("stop_signal")
        .and_then(|f| f.parsed(problems, "a signal such as SIGTERM or 15", signal));
    if let Some(grace) = take("stop_grace_period") {
        let grace = grace.parsed(problems, DURATION, duration_ms);
        spec.stop_grace_ms = grace.unwrap_or(spec.stop_grace_ms);
    }
    let mut flag = |name| take(name).and_then(|f| f.boolean(problems)) == Some(true);
    spec.init = flag("init");
    spec.tty = flag("tty");
    spec.stdin_open = flag("stdin_open");
    spec.shm_bytes = fields
        .take("shm_size")
        .and_then(|f| f.parsed(problems, BYTES, bytes));
    if let Some(logging) = fields.take("logging") {
        spec.logs.max_bytes = log_bytes(&logging, problems).unwrap_or(spec.logs.max_bytes);
    }
    one_of_it(fields.take("scale"), problems);
    if let Some(restart) = fields.take("restart") {
        let expected = "no, always, unless-stopped, on-failure or on-failure:N";
        spec.restart = restart
            .parsed(problems, expected, policy)
            .unwrap_or_default();
        return true;
    }
    false
}

pub(crate) fn one_of_it(field: Option<Field<'_>>, problems: &mut Collector<'_>) {
    if let Some(field) = field {
        field.parsed(problems, "1: a device runs one of each service", |t| {
            (t == "1").then_some(())
        });
    }
}

/// A list of words, or a line that is split as a shell would.
pub(crate) fn command_line(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<Vec<String>> {
    if field.is_sequence() {
        let items = field.items(problems);
        return items
            .iter()
            .map(|f| f.text(problems).map(str::to_owned))
            .collect();
    }
    match words(field.text(problems)?) {
        Ok(words) => Some(words),
        Err(what) => {
            field.wrong(problems, what, "write the command as a list");
            None
        }
    }
}

/// An absolute path in the container.
pub(crate) fn absolute(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<String> {
    field.parsed(problems, "an absolute path without ..", |t| {
        is_absolute(t).then(|| t.to_owned())
    })
}

pub(crate) fn is_absolute(path: &str) -> bool {
    let clean = |part| part != ".." && part != ".";
    path.starts_with('/')
        && path.len() <= 4096
        && path.split('/').all(clean)
        && !path.contains('\0')
}

fn is_user(text: &str) -> bool {
    let part = |p: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '$');
        !p.is_empty() && p.len() <= 64 && p.chars().all(allowed)
    };
    match text.split_once(':') {
        Some((user, group)) => part(user) && part(group),
        None => part(text),
    }
}

pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len()) && label.chars().all(allowed)
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn signal(text: &str) -> Option<String> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if text
        .parse::<u8>()
        .is_ok_and(|number| (1..=64).contains(&number))
    {
        return Some(text.to_owned());
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = name
        .strip_prefix("RTMIN+")
        .and_then(|offset| offset.parse::<u8>().ok())
        .is_some_and(|offset| offset <= 30);
    (NAMES.contains(&name) || real_time).then(|| format!("SIG{name}"))
}

fn policy(text: &str) -> Option<Restart> {
    Some(match text {
        "no" | "false" => Restart::No,
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => Restart::OnFailure { attempts: None },
        other => Restart::OnFailure {
            attempts: Some(other.strip_prefix("on-failure:")?.parse().ok()?),
        },
    })
}
