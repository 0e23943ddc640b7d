//! An honest fleet, for targets that need a device that trusts it.

use lightship_core::Config;
use lightship_core::id::{Digest, Name, ProvisioningKey, Uuid, Version};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::UnixTime;
use lightship_core::trust::{AssignmentHead, ReleaseHead, Role, encode_assignment, encode_release};

use super::rules::{root, sealed_by};

const STRATEGIES: [Strategy; 4] = [
    Strategy::DownloadThenKill,
    Strategy::KillThenDownload,
    Strategy::DeleteThenDownload,
    Strategy::HandOver,
];

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A device that may register.
pub(crate) fn config() -> Config {
    Config {
        device_type: name("board"),
        product: name("app"),
        name: None,
        root: root(),
        provisioning_key: Some(ProvisioningKey([9; 32])),
        rotation_period_s: Some(86_400),
        keys_outside: false,
    }
}

/// An assignment of a release of two components, one of which is firmware in version 3.
pub(crate) fn install(device: Uuid, counter: u64, version: u8) -> (Vec<u8>, Vec<u8>) {
    let component = |text: &str, kind| Component {
        name: name(text),
        kind,
        artifact: Artifact {
            digest: Digest([version; 32]),
            size: 10,
        },
        spec: Digest([version; 32]),
        settings: None,
        mode: Mode::Service,
        strategy: STRATEGIES[usize::from(version) % 4],
        health: Health::default(),
        after: [].into_iter().collect(),
    };
    let second = if version == 3 {
        Kind::Firmware
    } else {
        Kind::Container
    };
    let components = [component("web", Kind::Container), component("db", second)];
    let head = ReleaseHead {
        product: name("app"),
        device_type: name("board"),
        version: Version::new("1.0").expect("a version"),
        security_version: 1,
        floor: 1,
        issued: UnixTime(1_700_000_000),
        reach_fleet_s: None,
    };
    let mut payload = [0; DOCUMENT_BYTES];
    let len = encode_release(&head, &components, &mut payload).expect("it fits");
    let release = sealed_by(&payload[..len], Role::Release);
    let head = AssignmentHead {
        device,
        counter,
        issued: UnixTime(1_700_000_000),
        expires: UnixTime(1_900_000_000),
        release: Digest::of(&payload[..len]),
        attempt: 0,
        override_locks: false,
    };
    let len = encode_assignment(&head, &[], &mut payload).expect("it fits");
    (sealed_by(&payload[..len], Role::Director), release)
}
