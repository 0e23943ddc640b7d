//! Messages as large as real ones: their signatures are none, and as long.

use std::vec;
use std::vec::Vec;

use heapless::Vec as Bounded;
use lightship_core::id::{
    ApiKey, Digest, Endpoint, KeyId, Name, ProvisioningKey, PublicKey, Version,
};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::UnixTime;
use lightship_core::trust::{AssignmentHead, ReleaseHead, encode_assignment, encode_release, seal};
use lightship_core::wire::{Register, Registered, Tunnel, Up};

use super::super::credentials;

const TODAY: u64 = 1_800_000_000;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(super) fn register() -> Up {
    Up::Register(Register {
        uuid: credentials(1).uuid,
        provisioning_key: ProvisioningKey([2; 32]),
        api_key: ApiKey([1; 32]),
        wireguard: PublicKey([4; 32]),
        device_type: name("raspberrypi4"),
        name: None,
    })
}

pub(super) fn registered() -> Registered {
    Registered {
        uuid: credentials(1).uuid,
        tunnel: Some(Tunnel {
            hub: PublicKey([7; 32]),
            endpoint: Endpoint::new("fleet.example:51820").expect("an endpoint"),
            address: core::net::Ipv4Addr::new(100, 64, 0, 9),
            gateway: core::net::Ipv4Addr::new(100, 64, 0, 1),
            preshared: None,
            mqtt_port: 1883,
            http_port: 80,
        }),
    }
}

/// An assignment and a release of one component.
pub(super) fn documents() -> (Vec<u8>, Vec<u8>) {
    let mut payload = vec![0; DOCUMENT_BYTES];
    let component = Component {
        name: name("web"),
        kind: Kind::Container,
        artifact: Artifact {
            digest: Digest([3; 32]),
            size: 52_428_800,
        },
        spec: Digest([4; 32]),
        settings: None,
        mode: Mode::Service,
        strategy: Strategy::DownloadThenKill,
        health: Health {
            grace_s: 30,
            window_s: 60,
            failures: 3,
        },
        after: Bounded::new(),
    };
    let head = ReleaseHead {
        product: name("kiosk"),
        device_type: name("raspberrypi4"),
        version: Version::new("1.2.3").expect("a version"),
        security_version: 1,
        floor: 0,
        issued: UnixTime(TODAY),
        reach_fleet_s: None,
    };
    let len = encode_release(&head, &[component], &mut payload).expect("it fits");
    let release = sealed(&payload[..len]);
    let head = AssignmentHead {
        device: credentials(1).uuid,
        counter: 7,
        issued: UnixTime(TODAY),
        expires: UnixTime(TODAY + 30 * 24 * 3600),
        release: Digest([5; 32]),
        attempt: 0,
        override_locks: false,
    };
    let len = encode_assignment(&head, &[], &mut payload).expect("it fits");
    (sealed(&payload[..len]), release)
}

fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; DOCUMENT_BYTES];
    let signature = (KeyId::of(&PublicKey([6; 32])), [0x5a; 64]);
    let len = seal(payload, &[signature], &mut out).expect("it fits");
    out.truncate(len);
    out
}
