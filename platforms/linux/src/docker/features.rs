//! What a spec asks for beyond an ordinary container, and what of the host it may have.

use std::collections::BTreeMap;
use std::path::Path;

use bollard::models::{DeviceMapping, Mount as ApiMount};
use lightship_spec::container::{Feature, HealthTest, Mount, NetworkMode};

use super::body::bind;
use super::{Inner, Plan};
use crate::engine::{Error, Grant, PROVIDED, Starting, check_bind, check_rights};

/// What features add to a container.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) environment: BTreeMap<String, String>,
    pub(super) mounts: Vec<ApiMount>,
    pub(super) devices: Vec<DeviceMapping>,
}

/// Device nodes of graphics processors, as far as a board has them.
const GPU_NODES: [&str; 4] = ["/dev/dri", "/dev/vchiq", "/dev/mali0", "/dev/galcore"];

/// With these a container can make itself the host's master.
const MIGHTY: [Feature; 4] = [
    Feature::Dbus,
    Feature::Sysfs,
    Feature::Procfs,
    Feature::EngineSocket,
];

impl Inner {
    /// Since version 1.44 of the API an endpoint has one; before, it is dropped in silence.
    fn knows_mac_addresses(&self) -> bool {
        let version = self.docker.client_version();
        (version.major_version, version.minor_version) >= (1, 44)
    }

    /// Refuses what this device does not do or allow, before anything is made.
    pub(super) async fn check(&self, plan: &Plan) -> Result<(), Error> {
        check_rights(&plan.spec, self.config.privileged)?;
        for mount in &plan.spec.mounts {
            if let Mount::Bind { source, .. } = mount {
                check_bind(source, &self.config.binds, &self.config.own)?;
            }
        }
        for feature in &plan.spec.features {
            if PROVIDED.contains(feature) && self.config.provide.is_none() {
                let why = "nobody offers the local API here";
                return Err(Error::refused("features", why));
            }
            if MIGHTY.contains(feature) && !self.config.privileged {
                let why =
                    format!("{feature:?} needs `allow_privileged` in the device's configuration");
                return Err(Error::refused("features", why));
            }
        }
        if plan.spec.network.mac_address.is_some() && !self.knows_mac_addresses() {
            let why = "needs Docker 25 or later, or the built-in engine";
            return Err(Error::refused("network.mac_address", why));
        }
        let from_outside = plan.spec.health.as_ref().is_some_and(|health| {
            matches!(
                health.test,
                HealthTest::Http { .. } | HealthTest::Tcp { .. }
            )
        });
        if from_outside && plan.spec.network.mode == NetworkMode::None {
            let why = "a container without a network cannot be tested over it";
            return Err(Error::refused("health.test", why));
        }
        Ok(())
    }

    /// What the daemon gives the container; what a life before left behind is gone afterwards.
    pub(super) fn grant(&self, plan: &Plan) -> Result<Grant, Error> {
        let Some(provide) = &self.config.provide else {
            return Ok(Grant::default());
        };
        let starting = Starting {
            id: plan.record.id(),
            name: &plan.record.name,
            spec: &plan.spec,
        };
        let provided = provide.provide(&starting);
        provided.map_err(|error| Error::system("giving a service what it may have", error))
    }

    pub(super) fn extras(&self, plan: &Plan) -> Result<Extras, Error> {
        let mut extras = Extras::default();
        for feature in &plan.spec.features {
            self.add(*feature, &mut extras);
        }
        let grant = self.grant(plan)?;
        for (name, value) in grant.environment {
            let is_said = plan.resolved.environment.contains_key(&name);
            if !is_said {
                extras.environment.insert(name, value);
            }
        }
        let mounts = grant.mounts.iter();
        extras
            .mounts
            .extend(mounts.map(|(source, target, read_only)| {
                bind(&source.display().to_string(), target, *read_only, false)
            }));
        Ok(extras)
    }

    fn add(&self, feature: Feature, extras: &mut Extras) {
        let mut mount = |source: &str, target: &str, read_only: bool| {
            if Path::new(source).exists() {
                extras.mounts.push(bind(source, target, read_only, false));
            }
        };
        match feature {
            Feature::Dbus => mount("/run/dbus", "/host/run/dbus", false),
            Feature::Sysfs => mount("/sys", "/sys", false),
            Feature::Procfs => mount("/proc", "/proc", false),
            Feature::KernelModules => mount("/lib/modules", "/lib/modules", true),
            Feature::Firmware => mount("/lib/firmware", "/lib/firmware", true),
            Feature::JournalLogs => {
                mount("/var/log/journal", "/var/log/journal", true);
                mount("/run/log/journal", "/run/log/journal", true);
                mount("/etc/machine-id", "/etc/machine-id", true);
            }
            Feature::EngineSocket => {
                mount(&self.socket.display().to_string(), ENGINE_SOCKET, false);
                let address = format!("unix://{ENGINE_SOCKET}");
                extras.environment.insert("DOCKER_HOST".to_owned(), address);
            }
            Feature::Gpu => {
                let there = GPU_NODES.iter().filter(|node| Path::new(node).exists());
                extras.devices.extend(there.map(|node| DeviceMapping {
                    path_on_host: Some((*node).to_owned()),
                    path_in_container: Some((*node).to_owned()),
                    cgroup_permissions: Some("rwm".to_owned()),
                }));
            }
            Feature::LocalApi | Feature::DeviceControl | Feature::BalenaApi => {}
        }
    }
}

/// Where balena puts it.
const ENGINE_SOCKET: &str = "/host/run/balena-engine.sock";
