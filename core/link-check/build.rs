//! Makes what the weighed program receives: signed documents and messages, with keys made of fixed bytes.

use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use lightship_core::Agent;
use lightship_core::id::{Digest, KeyId, Name, PublicKey, Uuid, Version};
use lightship_core::record::Saved;
use lightship_core::target::{After, Artifact, Component, Condition, Health, Kind, Mode, Strategy};
use lightship_core::time::{Instant, UnixTime};
use lightship_core::trust::{
    AssignmentHead, ReleaseHead, RoleKeys, Root, encode_assignment, encode_release, encode_root,
    seal,
};
use lightship_core::wire::{Blob, Command, Down, KeyKind, Order, Registered, SignedTarget, encode};

#[path = "src/device.rs"]
mod device;

const ISSUED: UnixTime = UnixTime(1_700_000_000);
const EXPIRES: UnixTime = UnixTime(1_900_000_000);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/device.rs");
    println!("cargo::rerun-if-changed=memory.x");
    let [root_key, release_key, director_key] = [1, 2, 3].map(|n| SigningKey::from_bytes(&[n; 32]));
    let root = root([&root_key, &release_key, &director_key].map(public));
    let uuid = uuid(&root);
    let root = sealed(&payload(|out| encode_root(&root, out)), &root_key);
    let release = payload(|out| encode_release(&release_head(), &components(), out));
    let head = assignment_head(uuid, &release);
    let assignment = payload(|out| encode_assignment(&head, &[(0, Digest([4; 32]))], out));
    let (assignment, release) = (
        sealed(&assignment, &director_key),
        sealed(&release, &release_key),
    );
    write("root.bin", &root);
    write(
        "registered.bin",
        &message(&Down::Registered(Registered { uuid, tunnel: None })),
    );
    let command = Command {
        id: 1,
        order: Order::Rotate(KeyKind::Api),
    };
    write("rotate.bin", &message(&Down::Command(command)));
    let (assignment, release) = (Blob::Raw(&assignment), Blob::Raw(&release));
    write(
        "target.bin",
        &message(&Down::Target(SignedTarget {
            assignment,
            release,
        })),
    );
}

/// Who the device will be: its own doing, but always the same from the same seed.
fn uuid(root: &Root) -> Uuid {
    let config = device::config(root.clone()).expect("names");
    let agent =
        Agent::<{ device::COMPONENTS }>::new(config, Saved::default(), device::SEED, Instant::BOOT);
    agent
        .uuid()
        .expect("a device with a provisioning key makes its identity at once")
}

fn root(keys: [PublicKey; 3]) -> Root {
    let only = |position: u8| RoleKeys {
        members: 1 << position,
        threshold: 1,
    };
    Root {
        version: 1,
        issued: ISSUED,
        expires: EXPIRES,
        floor: 0,
        keys: keys.into_iter().collect(),
        root: only(0),
        release: only(1),
        director: only(2),
    }
}

fn release_head() -> ReleaseHead {
    ReleaseHead {
        product: name(device::PRODUCT),
        device_type: name(device::DEVICE_TYPE),
        version: Version::new("1.2.3").expect("a version"),
        security_version: 1,
        floor: 1,
        issued: ISSUED,
        reach_fleet_s: Some(600),
    }
}

fn assignment_head(device: Uuid, release: &[u8]) -> AssignmentHead {
    AssignmentHead {
        device,
        counter: 1,
        issued: ISSUED,
        expires: EXPIRES,
        release: Digest::of(release),
        attempt: 0,
        override_locks: false,
    }
}

/// As many as the device has room for, each with its own strategy, each waiting for the one before it.
fn components() -> [Component; device::COMPONENTS] {
    let strategies = [
        Strategy::DownloadThenKill,
        Strategy::KillThenDownload,
        Strategy::DeleteThenDownload,
        Strategy::HandOver,
    ];
    let mut position = 0;
    strategies.map(|strategy| {
        let before = u8::checked_sub(position, 1);
        let after = before.map(|component| After {
            component,
            condition: Condition::Healthy,
        });
        position += 1;
        Component {
            name: name(&format!("part-{position}")),
            kind: Kind::Container,
            artifact: Artifact {
                digest: Digest([position; 32]),
                size: 4096,
            },
            spec: Digest([0; 32]),
            settings: None,
            mode: Mode::Service,
            strategy,
            health: Health::default(),
            after: after.into_iter().collect(),
        }
    })
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

fn payload<E: std::fmt::Debug>(write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let length = write(&mut bytes).expect("the document is well formed and fits");
    bytes.truncate(length);
    bytes
}

fn sealed(document: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = (KeyId::of(&public(key)), key.sign(document).to_bytes());
    payload(|out| seal(document, &[signature], out))
}

fn message(message: &Down<'_>) -> Vec<u8> {
    let mut out = [0; 4096];
    encode(message, &mut out)
        .expect("the message fits")
        .to_vec()
}

fn write(name: &str, bytes: &[u8]) {
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&folder).join(name), bytes).expect("the folder is writable");
}
