//! A publisher, a fleet and a script: what the tests of the core are written with.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use ed25519_dalek::{Signer, SigningKey};
use heapless::Vec as Bounded;
use lightship_core::id::*;
use lightship_core::target::*;
use lightship_core::time::*;
use lightship_core::trust::*;
use lightship_core::wire::*;
use lightship_core::*;

pub mod fleet;
pub mod script;

pub const DAY: u64 = 24 * 3600;
/// When the documents of the tests are signed.
pub const TODAY: u64 = 1_800_000_000;

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

/// An envelope signed by these keys.
pub fn signed(payload: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    let signatures: Vec<_> = keys
        .iter()
        .map(|key| (KeyId::of(&public(key)), key.sign(payload).to_bytes()))
        .collect();
    let mut out = vec![0; limits::DOCUMENT_BYTES];
    let len = seal(payload, &signatures, &mut out).expect("it fits");
    out.truncate(len);
    out
}

/// Holds all keys: root 1, release 2, director 3, each of one key and threshold one.
pub struct Publisher {
    pub root: Root,
    pub root_key: SigningKey,
    pub release_key: SigningKey,
    pub director_key: SigningKey,
}

impl Default for Publisher {
    fn default() -> Self {
        let (root_key, release_key, director_key) = (key(1), key(2), key(3));
        let keys = [&root_key, &release_key, &director_key];
        let role = |members| RoleKeys {
            members,
            threshold: 1,
        };
        let root = Root {
            version: 1,
            issued: UnixTime(TODAY),
            expires: UnixTime(TODAY + 3650 * DAY),
            floor: 0,
            keys: keys.into_iter().map(public).collect(),
            root: role(0b001),
            release: role(0b010),
            director: role(0b100),
        };
        Self {
            root,
            root_key,
            release_key,
            director_key,
        }
    }
}

impl Publisher {
    pub fn root_document(&self, root: &Root, keys: &[&SigningKey]) -> Vec<u8> {
        let mut payload = [0; limits::DOCUMENT_BYTES];
        let len = encode_root(root, &mut payload).expect("it fits");
        signed(&payload[..len], keys)
    }

    /// A release document and the digest that assignments name it by.
    pub fn release(&self, head: &ReleaseHead, components: &[Component]) -> (Vec<u8>, Digest) {
        let mut payload = [0; limits::DOCUMENT_BYTES];
        let len = encode_release(head, components, &mut payload).expect("it fits");
        let payload = &payload[..len];
        (signed(payload, &[&self.release_key]), Digest::of(payload))
    }

    pub fn assignment(&self, head: &AssignmentHead, settings: &[(u8, Digest)]) -> Vec<u8> {
        let mut payload = [0; limits::DOCUMENT_BYTES];
        let len = encode_assignment(head, settings, &mut payload).expect("it fits");
        signed(&payload[..len], &[&self.director_key])
    }

    pub fn config(&self) -> Config {
        Config {
            device_type: name("testboard"),
            product: name("kiosk"),
            name: None,
            root: self.root.clone(),
            provisioning_key: Some(ProvisioningKey([9; 32])),
            rotation_period_s: None,
            keys_outside: false,
        }
    }
}

pub fn release_head(version: &str) -> ReleaseHead {
    ReleaseHead {
        product: name("kiosk"),
        device_type: name("testboard"),
        version: Version::new(version).expect("a version"),
        security_version: 1,
        floor: 0,
        issued: UnixTime(TODAY),
        reach_fleet_s: None,
    }
}

pub fn assignment_head(device: Uuid, counter: u64, release: Digest) -> AssignmentHead {
    AssignmentHead {
        device,
        counter,
        issued: UnixTime(TODAY),
        expires: UnixTime(TODAY + 30 * DAY),
        release,
        attempt: 0,
        override_locks: false,
    }
}

/// A container whose artifact, spec and all else follow from its name and version.
pub fn component(text: &str, version: u8) -> Component {
    let mut artifact = [version; 32];
    artifact[0] = text.as_bytes()[0];
    Component {
        name: name(text),
        kind: Kind::Container,
        artifact: Artifact {
            digest: Digest(artifact),
            size: 1000,
        },
        spec: Digest([version; 32]),
        settings: None,
        mode: Mode::Service,
        strategy: Strategy::DownloadThenKill,
        health: Health {
            grace_s: 10,
            window_s: 10,
            failures: 1,
        },
        after: Bounded::new(),
    }
}

/// What the fleet answers to a registration.
pub fn registered(uuid: Uuid) -> Registered {
    Registered {
        uuid,
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
