//! A spec in the API's words, field by field as Docker's own Compose would say it.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount as ApiMount, MountBindOptions, MountBindOptionsPropagationEnum,
    MountType, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use lightship_spec::container::{
    ContainerSpec, Health, HealthTest, Limits, Mount, NetworkMode, Protocol, Restart,
};

use super::features::Extras;
use super::{LABEL, Plan, network};

/// Whether it can only be made when another container is there.
pub(super) fn needs_another(spec: &ContainerSpec) -> bool {
    matches!(spec.network.mode, NetworkMode::Service(_))
}

/// The whole body of "create a container". `network` is what the mode has become.
pub(super) fn create(plan: &Plan, extras: Extras, network: &str) -> ContainerCreateBody {
    let spec = &plan.spec;
    let mut environment = plan.resolved.environment.clone();
    environment.extend(extras.environment.clone());
    let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
    labels.insert(LABEL.to_owned(), plan.record.id().to_string());
    // A hostname belongs to a network of its own.
    let own_name = matches!(
        spec.network.mode,
        NetworkMode::Bridge(_) | NetworkMode::None
    );
    let hostname = spec
        .hostname
        .clone()
        .unwrap_or_else(|| plan.record.name.clone());
    ContainerCreateBody {
        hostname: (own_name && !spec.security.host_uts).then_some(hostname),
        user: spec.user.clone(),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin_open),
        env: Some(
            environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone().map(cleared),
        healthcheck: spec.health.as_ref().map(health),
        image: Some(plan.image()),
        working_dir: spec.working_dir.clone(),
        labels: Some(labels),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: Some(seconds(spec.stop_grace_ms)),
        exposed_ports: Some(spec.network.ports.iter().map(port_name).collect()),
        networking_config: endpoints(plan, network),
        host_config: Some(host(spec, extras, network)),
        ..ContainerCreateBody::default()
    }
}

/// To the API an empty list means the image's own entrypoint; one empty word means none.
fn cleared(entrypoint: Vec<String>) -> Vec<String> {
    if entrypoint.is_empty() {
        return vec![String::new()];
    }
    entrypoint
}

pub(super) fn seconds(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

fn endpoints(plan: &Plan, network: &str) -> Option<NetworkingConfig> {
    let bridges = network::bridges(plan)?;
    let aliases = bridges.get(network)?.clone();
    let endpoint = EndpointSettings {
        aliases: Some(aliases),
        mac_address: plan.spec.network.mac_address.clone(),
        ..EndpointSettings::default()
    };
    Some(NetworkingConfig {
        endpoints_config: Some(HashMap::from([(network.to_owned(), endpoint)])),
    })
}

fn host(spec: &ContainerSpec, extras: Extras, network: &str) -> HostConfig {
    let security = &spec.security;
    let mut options = Vec::new();
    if security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    if security.seccomp_unconfined {
        options.push("seccomp=unconfined".to_owned());
    }
    let of_host = |wanted: bool| wanted.then(|| "host".to_owned());
    let dns = &spec.network;
    let extra_hosts = dns
        .extra_hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"));
    let mut mounts: Vec<ApiMount> = spec
        .mounts
        .iter()
        .filter_map(|m| mount(&spec.application, m))
        .collect();
    mounts.extend(extras.mounts);
    let mut devices: Vec<DeviceMapping> = spec.devices.iter().map(device).collect();
    devices.extend(extras.devices);
    let mut config = HostConfig {
        network_mode: Some(network.to_owned()),
        port_bindings: Some(bindings(spec)),
        restart_policy: Some(restart(spec.restart)),
        mounts: Some(mounts),
        tmpfs: Some(tmpfs(spec)),
        devices: Some(devices),
        device_cgroup_rules: Some(spec.device_rules.clone()),
        cap_add: Some(security.cap_add.iter().cloned().collect()),
        cap_drop: Some(security.cap_drop.iter().cloned().collect()),
        privileged: Some(security.privileged),
        readonly_rootfs: Some(security.read_only_root),
        security_opt: Some(options),
        pid_mode: of_host(security.host_pid),
        ipc_mode: of_host(security.host_ipc),
        uts_mode: of_host(security.host_uts),
        dns: Some(dns.dns.iter().map(ToString::to_string).collect()),
        dns_search: Some(dns.dns_search.clone()),
        dns_options: Some(dns.dns_options.clone()),
        extra_hosts: Some(extra_hosts.collect()),
        group_add: Some(spec.group_add.clone()),
        init: Some(spec.init),
        shm_size: spec.shm_bytes.map(signed),
        sysctls: Some(spec.sysctls.clone().into_iter().collect()),
        ulimits: Some(spec.ulimits.iter().map(ulimit).collect()),
        log_config: Some(logs(spec.logs.max_bytes)),
        ..HostConfig::default()
    };
    limit(&spec.limits, &mut config);
    config
}

fn limit(limits: &Limits, config: &mut HostConfig) {
    config.memory = limits.memory_bytes.map(signed);
    config.memory_swap = limits.memory_swap_bytes.map(signed);
    config.memory_reservation = limits.memory_reservation_bytes.map(signed);
    config.nano_cpus = limits
        .cpu_millis
        .map(|millis| i64::from(millis) * 1_000_000);
    config.cpu_shares = limits.cpu_shares.map(signed);
    config.cpuset_cpus.clone_from(&limits.cpuset);
    config.pids_limit = limits.pids.map(i64::from);
    config.oom_kill_disable = limits.oom_kill_disable.then_some(true);
    config.oom_score_adj = limits.oom_score_adj.map(i64::from);
}

fn restart(restart: Restart) -> RestartPolicy {
    let (name, attempts) = match restart {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::OnFailure { attempts } => (RestartPolicyNameEnum::ON_FAILURE, attempts),
        Restart::Always | Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: attempts.map(i64::from),
    }
}

/// Half of it in each of two files, so that there is always a past.
fn logs(max_bytes: u64) -> HostConfigLogConfig {
    let each = (max_bytes / 2).max(4096);
    let options = [("max-size", each.to_string()), ("max-file", "2".to_owned())];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(options.map(|(name, value)| (name.to_owned(), value)).into()),
    }
}

fn ulimit((name, limit): (&String, &lightship_spec::container::Ulimit)) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(signed(limit.soft)),
        hard: Some(signed(limit.hard)),
    }
}

fn device(device: &lightship_spec::container::Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(device.host.clone()),
        path_in_container: Some(device.container.clone()),
        cgroup_permissions: Some(device.access.clone()),
    }
}

fn port_name(port: &lightship_spec::container::Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.container)
}

fn bindings(spec: &ContainerSpec) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut all: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.network.ports {
        let binding = PortBinding {
            host_ip: port.host_ip.map(|ip| ip.to_string()),
            host_port: Some(port.host.to_string()),
        };
        all.entry(port_name(port))
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    all
}

/// Volumes are an application's own, so their names carry its name.
pub(super) fn volume_name(application: &str, name: &str) -> String {
    format!("lightship-{application}_{name}")
}

fn mount(application: &str, mount: &Mount) -> Option<ApiMount> {
    match mount {
        Mount::Volume {
            name,
            target,
            read_only,
        } => Some(ApiMount {
            typ: Some(MountType::VOLUME),
            source: Some(volume_name(application, name)),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            ..ApiMount::default()
        }),
        Mount::Bind {
            source,
            target,
            read_only,
            follow,
        } => Some(bind(source, target, *read_only, *follow)),
        Mount::Tmpfs { .. } => None,
    }
}

pub(super) fn bind(source: &str, target: &str, read_only: bool, follow: bool) -> ApiMount {
    let propagation = if follow {
        MountBindOptionsPropagationEnum::RSLAVE
    } else {
        MountBindOptionsPropagationEnum::RPRIVATE
    };
    ApiMount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(propagation),
            ..MountBindOptions::default()
        }),
        ..ApiMount::default()
    }
}

fn tmpfs(spec: &ContainerSpec) -> HashMap<String, String> {
    let one = |mount: &Mount| match mount {
        Mount::Tmpfs {
            target,
            size_bytes,
            mode,
        } => {
            let mut options = vec!["rw".to_owned()];
            options.extend(size_bytes.map(|bytes| format!("size={bytes}")));
            options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            Some((target.clone(), options.join(",")))
        }
        Mount::Volume { .. } | Mount::Bind { .. } => None,
    };
    spec.mounts.iter().filter_map(one).collect()
}

/// No test by the engine.
pub(super) fn no_health() -> HealthConfig {
    HealthConfig {
        test: Some(vec!["NONE".to_owned()]),
        ..HealthConfig::default()
    }
}

fn health(health: &Health) -> HealthConfig {
    let test = match &health.test {
        HealthTest::None | HealthTest::Http { .. } | HealthTest::Tcp { .. } => return no_health(),
        HealthTest::Exec(words) => [&["CMD".to_owned()], words.as_slice()].concat(),
        HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
    };
    let nanos = |ms: u64| Some(signed(ms.saturating_mul(1_000_000)));
    HealthConfig {
        test: Some(test),
        interval: nanos(health.interval_ms),
        timeout: nanos(health.timeout_ms),
        retries: Some(i64::from(health.retries)),
        start_period: nanos(health.start_period_ms),
        start_interval: nanos(health.start_interval_ms),
    }
}
