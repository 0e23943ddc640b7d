//! What of the device a container may ask for, as balena's `io.balena.features.*` have it.

use std::collections::BTreeMap;
use std::path::Path;

use lightship_spec::container::Feature;

use crate::engine::Grant;

/// Source on the host, target in the container, read-only.
type Mounts = &'static [(&'static str, &'static str, bool)];

/// Those that let nobody change the host.
const HARMLESS: [(Feature, Mounts); 3] = [
    (
        Feature::KernelModules,
        &[("/lib/modules", "/lib/modules", true)],
    ),
    (
        Feature::Firmware,
        &[("/lib/firmware", "/lib/firmware", true)],
    ),
    (
        Feature::JournalLogs,
        &[
            ("/var/log/journal", "/var/log/journal", true),
            ("/run/log/journal", "/run/log/journal", true),
            ("/etc/machine-id", "/etc/machine-id", true),
        ],
    ),
];

/// Those with which a container can make itself the host's master: `allow_privileged` grants them.
const MIGHTY: [(Feature, Mounts); 2] = [
    (
        Feature::Dbus,
        &[
            ("/run/dbus", "/run/dbus", false),
            ("/run/dbus", "/host/run/dbus", false),
        ],
    ),
    (Feature::Sysfs, &[("/sys", "/sys", false)]),
];

/// The features that this device grants. What it does not have is left out of them.
pub(super) fn features(allow_privileged: bool) -> BTreeMap<Feature, Grant> {
    let mighty = MIGHTY.iter().filter(|_| allow_privileged);
    let all = HARMLESS.iter().chain(mighty);
    all.map(|(feature, mounts)| (*feature, grant(mounts)))
        .collect()
}

fn grant(mounts: Mounts) -> Grant {
    let there = mounts
        .iter()
        .filter(|(source, ..)| Path::new(source).exists());
    let mounts = there.map(|(source, target, read_only)| {
        let source = Path::new(source).to_owned();
        (source, (*target).to_owned(), *read_only)
    });
    Grant {
        environment: BTreeMap::new(),
        mounts: mounts.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_container_the_hosts_master_needs_to_be_allowed() {
        let plain = features(false);
        assert!(plain.contains_key(&Feature::Firmware));
        assert!(!plain.contains_key(&Feature::Dbus) && !plain.contains_key(&Feature::Sysfs));
        assert!(features(true).contains_key(&Feature::Dbus));
        assert!(!features(true).contains_key(&Feature::EngineSocket));
    }
}
