//! From a signed spec, an image and a device's settings to a bundle, or a refusal that names the field.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lightship_spec::container::{
    ContainerSpec, Feature, Health, HealthTest, Mount, NetworkMode, Settings, mac_address,
};
use lightship_spec::settings::{self, ResolvedFile};

use super::Error;
use super::image::{Execution, Healthcheck};
use super::rights::{check_bind, check_rights};
use super::runtime::{File, MAX_RULES, is_limit};

/// What this device lets containers do beyond the ordinary.
#[derive(Clone, Debug, Default)]
pub struct Allowances {
    /// Paths of the host that may be mounted, with everything below them.
    pub binds: Vec<PathBuf>,
    /// The daemon's own folders and files, which are never mounted.
    pub own: Vec<PathBuf>,
    /// Whether a container may be made the host's master: `privileged`, more capabilities than Docker's default,
    /// no filter of system calls, the host's processes, disks or memory.
    pub privileged: bool,
    /// What a feature adds: environment, and mounts as source, target, read-only.
    /// A spec that asks for a feature that is not here is refused.
    pub features: BTreeMap<Feature, Grant>,
}

/// What a feature adds to a container.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// Added to the environment.
    pub environment: BTreeMap<String, String>,
    /// Source on the host, target in the container, read-only.
    pub mounts: Vec<(PathBuf, String, bool)>,
}

/// What to run, all sources considered.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) user: String,
    pub(super) working_dir: String,
    pub(super) stop_signal: i32,
    pub(super) health: Option<Health>,
    pub(super) files: Vec<File>,
    pub(super) extra: Vec<(PathBuf, String, bool)>,
}

impl Prepared {
    /// Adds what the daemon gives; what spec and image say of a variable stays.
    pub(super) fn add(&mut self, grant: Grant) {
        for (name, value) in grant.environment {
            if !self.environment.iter().any(|(known, _)| *known == name) {
                self.environment.push((name, value));
            }
        }
        self.extra.extend(grant.mounts);
    }
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Kernel parameters that belong to a container's own namespaces (namespaces(7)).
const SYSCTLS: [&str; 6] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm",
    "fs.mqueue.",
];

/// Puts spec, image and settings together.
pub(super) fn prepare(
    spec: &ContainerSpec,
    image: &Execution,
    settings: &Settings,
    allowances: &Allowances,
) -> Result<Prepared, Error> {
    check(spec, allowances)?;
    let resolved = settings::apply(spec, settings)
        .map_err(|rejection| Error::refused("settings", rejection.to_string()))?;
    let arguments = arguments(spec, image)?;
    let mut environment = environment(image, resolved.environment);
    let mut extra = Vec::new();
    for feature in &spec.features {
        let missing = || {
            Error::refused(
                "features",
                format!("{feature:?} is not available on this device"),
            )
        };
        let grant = allowances.features.get(feature).ok_or_else(missing)?;
        environment.extend(grant.environment.clone());
        extra.extend(grant.mounts.iter().cloned());
    }
    let working_dir = spec
        .working_dir
        .clone()
        .or_else(|| image.working_dir.clone())
        .filter(|path| !path.is_empty());
    let signal = spec.stop_signal.as_ref().or(image.stop_signal.as_ref());
    Ok(Prepared {
        arguments,
        environment: environment.into_iter().collect(),
        user: spec
            .user
            .clone()
            .or_else(|| image.user.clone())
            .unwrap_or_default(),
        working_dir: absolute("working_dir", working_dir.unwrap_or_else(|| "/".to_owned()))?,
        stop_signal: signal.map_or(Ok(SIGTERM), |name| signal_number(name))?,
        health: spec
            .health
            .clone()
            .or_else(|| image.healthcheck.as_ref().and_then(from_image)),
        files: resolved.files.into_iter().map(file).collect(),
        extra,
    })
}

/// Refuses what this device does not do, before anything is started.
fn check(spec: &ContainerSpec, allowances: &Allowances) -> Result<(), Error> {
    if spec.device_rules.len() > MAX_RULES {
        return Err(Error::refused(
            "device_rules",
            format!("at most {MAX_RULES} are allowed"),
        ));
    }
    for (name, limit) in &spec.ulimits {
        if !is_limit(name, limit) {
            return Err(Error::refused(
                format!("ulimits.{name}"),
                "must be a limit that Linux has, its soft value not above its hard one",
            ));
        }
    }
    for name in spec.sysctls.keys() {
        check_sysctl(name, spec)?;
    }
    for device in &spec.devices {
        absolute("devices.host", device.host.clone())?;
        absolute("devices.container", device.container.clone())?;
    }
    check_mac_address(spec)?;
    check_rights(spec, allowances.privileged)?;
    spec.mounts
        .iter()
        .try_for_each(|mount| check_mount(mount, allowances))
}

fn check_mac_address(spec: &ContainerSpec) -> Result<(), Error> {
    match &spec.network.mac_address {
        Some(text) if mac_address(text).is_none() => Err(Error::refused(
            "network.mac_address",
            format!(
                "`{text}` is not an address such as 02:42:ac:11:00:02, whose first byte is even"
            ),
        )),
        _ => Ok(()),
    }
}

fn check_sysctl(name: &str, spec: &ContainerSpec) -> Result<(), Error> {
    let own_network = matches!(
        spec.network.mode,
        NetworkMode::Bridge(_) | NetworkMode::None
    );
    let namespaced =
        SYSCTLS.iter().any(|prefix| name.starts_with(prefix)) && !spec.security.host_ipc;
    if name.contains("..")
        || name.contains('/')
        || !(namespaced || name.starts_with("net.") && own_network)
    {
        let why = "is not a parameter of the container's own namespaces";
        return Err(Error::refused(format!("sysctls.{name}"), why));
    }
    Ok(())
}

fn check_mount(mount: &Mount, allowances: &Allowances) -> Result<(), Error> {
    match mount {
        Mount::Volume { name, target, .. } => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            if name.is_empty()
                || !name.bytes().all(plain)
                || name.starts_with('.')
                || name.len() > 128
            {
                return Err(Error::refused(
                    "mounts.name",
                    format!("`{name}` is not letters, digits, `_`, `.` and `-`"),
                ));
            }
            absolute("mounts.target", target.clone()).map(drop)
        }
        Mount::Tmpfs { target, .. } => absolute("mounts.target", target.clone()).map(drop),
        Mount::Bind { source, target, .. } => {
            absolute("mounts.target", target.clone())?;
            check_bind(source, &allowances.binds, &allowances.own)
        }
    }
}

fn absolute(field: &str, path: String) -> Result<String, Error> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::refused(
            field,
            format!("`{path}` is not an absolute path"),
        ));
    }
    Ok(path)
}

/// Compose's rules: an entrypoint in the spec drops the image's command too.
fn arguments(spec: &ContainerSpec, image: &Execution) -> Result<Vec<String>, Error> {
    let entrypoint = spec
        .entrypoint
        .clone()
        .or_else(|| image.entrypoint.clone())
        .unwrap_or_default();
    let command = match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => command.clone(),
        (None, Some(_)) => Vec::new(),
        (None, None) => image.cmd.clone().unwrap_or_default(),
    };
    let arguments = [entrypoint, command].concat();
    if arguments.is_empty() {
        return Err(Error::refused(
            "command",
            "is given neither by the spec nor by the image",
        ));
    }
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(Error::refused("command", "holds a zero byte"));
    }
    Ok(arguments)
}

fn environment(image: &Execution, spec: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    for pair in image.env.iter().flatten() {
        if let Some((name, value)) = pair.split_once('=') {
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    environment.extend(spec);
    environment.retain(|name, value| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    });
    environment
}

fn file(resolved: ResolvedFile) -> File {
    let ResolvedFile {
        target,
        content,
        uid,
        gid,
        mode,
    } = resolved;
    File {
        target,
        content,
        uid,
        gid,
        mode,
    }
}

const SIGTERM: i32 = 15;

/// A signal by name or number.
pub(super) fn signal_number(text: &str) -> Result<i32, Error> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return Ok(at as i32 + 1);
    }
    // Real-time signals, as systemd's `SIGRTMIN+3`.
    let real_time = name
        .strip_prefix("RTMIN")
        .map(|rest| rest.strip_prefix('+').unwrap_or("0"));
    let number = match real_time {
        Some(offset) => offset
            .parse::<i32>()
            .ok()
            .and_then(|offset| offset.checked_add(34)),
        None => name.parse().ok(),
    };
    let wrong = || Error::refused("stop_signal", format!("`{text}` is no signal"));
    number
        .filter(|number| (1..=64).contains(number))
        .ok_or_else(wrong)
}

fn from_image(check: &Healthcheck) -> Option<Health> {
    let test = match check.test.split_first()? {
        (kind, []) if kind == "NONE" => HealthTest::None,
        (kind, arguments) if kind == "CMD" => HealthTest::Exec(arguments.to_vec()),
        (kind, [line]) if kind == "CMD-SHELL" => HealthTest::Shell(line.clone()),
        _ => return None,
    };
    let ms = |nanoseconds: u64, default: u64| {
        if nanoseconds == 0 {
            default
        } else {
            nanoseconds / 1_000_000
        }
    };
    Some(Health {
        test,
        interval_ms: ms(check.interval, 30_000),
        timeout_ms: ms(check.timeout, 30_000),
        start_period_ms: ms(check.start_period, 0),
        start_interval_ms: ms(check.start_interval, 5_000),
        retries: if check.retries == 0 { 3 } else { check.retries },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rest: &str) -> ContainerSpec {
        let text = format!(r#"{{"version":1,"application":"a","image":"x.example/web"{rest}}}"#);
        ContainerSpec::decode(text.as_bytes()).unwrap()
    }

    fn image() -> Execution {
        Execution {
            env: Some(vec!["A=image".to_owned(), "B=image".to_owned()]),
            entrypoint: Some(vec!["/entry".to_owned()]),
            cmd: Some(vec!["run".to_owned()]),
            ..Execution::default()
        }
    }

    fn try_spec(rest: &str) -> Result<Prepared, Error> {
        let settings = Settings {
            version: 1,
            ..Settings::default()
        };
        prepare(&spec(rest), &image(), &settings, &Allowances::default())
    }

    #[test]
    fn command_and_entrypoint_replace_the_images_as_in_compose() {
        let arguments = |rest| try_spec(rest).unwrap().arguments.join(" ");
        assert_eq!(arguments(""), "/entry run");
        assert_eq!(arguments(r#","command":["go"]"#), "/entry go");
        assert_eq!(arguments(r#","entrypoint":["/other"]"#), "/other");
        assert_eq!(arguments(r#","entrypoint":[],"command":["sh"]"#), "sh");
    }

    #[test]
    fn the_specs_environment_wins_over_the_images() {
        let prepared = try_spec(r#","environment":{"B":"spec"}"#).unwrap();
        let environment: BTreeMap<_, _> = prepared.environment.into_iter().collect();
        assert_eq!(
            (environment["A"].as_str(), environment["B"].as_str()),
            ("image", "spec")
        );
        assert_eq!(environment["PATH"], DEFAULT_PATH);
    }

    #[test]
    fn what_the_device_does_not_do_is_refused_by_field() {
        for (rest, field) in [
            (r#","security":{"privileged":true}"#, "security"),
            (r#","security":{"cap_add":["SYS_ADMIN"]}"#, "security"),
            (r#","security":{"cap_add":["FLY"]}"#, "security.cap_add"),
            (r#","sysctls":{"kernel.panic":"1"}"#, "sysctls.kernel.panic"),
            (
                r#","sysctls":{"net.ipv4.ip_forward":"1"},"network":{"mode":"host"}"#,
                "sysctls.net.ipv4.ip_forward",
            ),
            (
                r#","ulimits":{"nofile":{"soft":2,"hard":1}}"#,
                "ulimits.nofile",
            ),
            (
                r#","mounts":[{"type":"bind","source":"/etc","target":"/x"}]"#,
                "mounts.source",
            ),
            (
                r#","mounts":[{"type":"volume","name":"../x","target":"/x"}]"#,
                "mounts.name",
            ),
            (
                r#","mounts":[{"type":"tmpfs","target":"x"}]"#,
                "mounts.target",
            ),
            (
                r#","devices":[{"host":"/dev/absent","container":"/dev/x"}]"#,
                "devices",
            ),
            (r#","stop_signal":"SIGFOO""#, "stop_signal"),
            (
                r#","network":{"mac_address":"01:00:00:00:00:01"}"#,
                "network.mac_address",
            ),
            (r#","features":["dbus"]"#, "features"),
            (r#","device_rules":["c 1:3"]"#, "device_rules"),
            (r#","working_dir":"here""#, "working_dir"),
        ] {
            match try_spec(rest) {
                Err(Error::Refused { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{rest}: {other:?}"),
            }
        }
    }

    #[test]
    fn signals_go_by_name_and_number() {
        for (text, number) in [("SIGTERM", 15), ("INT", 2), ("9", 9), ("SIGRTMIN+3", 37)] {
            assert_eq!(signal_number(text).unwrap(), number);
        }
    }
}
