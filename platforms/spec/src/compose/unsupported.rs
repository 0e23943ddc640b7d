//! What Compose has and a device has not, with what to do instead.

pub(crate) const TOP_LEVEL: &[(&str, &str)] = &[
    ("include", "put the services into one file"),
    ("models", "run the model in a service of its own"),
];

pub(crate) const SERVICE: &[(&str, &str)] = &[
    ("annotations", "use labels"),
    ("attach", "it belongs to `docker compose up`; remove it"),
    (
        "blkio_config",
        "remove it; memory, CPU and processes can be limited",
    ),
    (
        "cgroup",
        "remove it; each container has a cgroup namespace of its own",
    ),
    (
        "cgroup_parent",
        "remove it; the engine places its containers itself",
    ),
    (
        "container_name",
        "remove it; other services reach it under the service's name or a network alias",
    ),
    ("cpu_count", "use cpus"),
    ("cpu_percent", "use cpus"),
    ("cpu_rt_period", "remove it"),
    ("cpu_rt_runtime", "remove it"),
    ("credential_spec", "it belongs to Windows; remove it"),
    ("develop", "it belongs to `docker compose watch`; remove it"),
    ("extends", "use a YAML anchor: `<<: *base`"),
    ("external_links", "put the services into one application"),
    (
        "gpus",
        "use the label io.balena.features.gpu or x-lightship features: [gpu]",
    ),
    ("isolation", "it belongs to Windows; remove it"),
    ("label_file", "write the labels into labels"),
    (
        "links",
        "remove it; services reach each other by name, and networks have aliases",
    ),
    ("mem_swappiness", "remove it; memswap_limit bounds swap"),
    ("models", "run the model in a service of its own"),
    (
        "platform",
        "remove it; the fleet's device types say for which platforms images are built",
    ),
    ("post_start", "do it in the container's command"),
    ("pre_stop", "do it when the stop signal comes"),
    (
        "provider",
        "remove it; a device has its own containers alone",
    ),
    (
        "pull_policy",
        "remove it; a release names its images by digest",
    ),
    ("runtime", "remove it; the engine has one runtime"),
    ("storage_opt", "remove it"),
    (
        "use_api_socket",
        "use x-lightship features: [engine-socket]",
    ),
    ("volumes_from", "name the volumes in both services"),
];

pub(crate) const BUILD: &[(&str, &str)] = &[
    (
        "additional_contexts",
        "copy what is needed into the context",
    ),
    ("cache_from", "remove it; the builder keeps its own cache"),
    ("cache_to", "remove it; the builder keeps its own cache"),
    (
        "entitlements",
        "remove it; builds get no more than they need",
    ),
    ("extra_hosts", "remove it"),
    ("isolation", "it belongs to Windows; remove it"),
    ("network", "remove it"),
    ("no_cache", "remove it; the builder has no stale results"),
    (
        "platforms",
        "remove it; the fleet's device types say for which platforms images are built",
    ),
    ("privileged", "remove it; builds get no more than they need"),
    ("provenance", "remove it; releases are signed"),
    ("pull", "remove it; base images are named by what FROM says"),
    ("sbom", "remove it"),
    ("secrets", "fetch what needs a secret before the build"),
    ("shm_size", "remove it"),
    ("ssh", "fetch what needs a key before the build"),
    ("tags", "remove it; releases are named by the fleet"),
    ("ulimits", "remove it"),
];

pub(crate) const DEPLOY: &[(&str, &str)] = &[
    ("endpoint_mode", "it belongs to Swarm; remove it"),
    ("labels", "use the service's labels"),
    ("mode", "it belongs to Swarm; remove it"),
    (
        "placement",
        "it belongs to Swarm; choose devices by fleet and device type",
    ),
    ("rollback_config", "use the roll-out of the release"),
    (
        "update_config",
        "use the roll-out of the release, and x-lightship strategy",
    ),
];
