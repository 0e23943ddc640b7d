//! Signs the documents that the weighed program verifies, with keys made of fixed bytes.

use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use lightship_core::id::{Digest, KeyId, Name, PublicKey, Uuid, Version};
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::UnixTime;
use lightship_core::trust::{
    AssignmentHead, ReleaseHead, RoleKeys, Root, encode_assignment, encode_release, encode_root,
    seal,
};

const ISSUED: UnixTime = UnixTime(1_700_000_000);
const EXPIRES: UnixTime = UnixTime(1_900_000_000);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=memory.x");
    let [root_key, release_key, director_key] = [1, 2, 3].map(|n| SigningKey::from_bytes(&[n; 32]));
    let release = payload(|out| encode_release(&release_head(), &[firmware()], out));
    let assignment = payload(|out| encode_assignment(&assignment_head(&release), &[], out));
    let keys = [&root_key, &release_key, &director_key].map(public);
    let root = payload(|out| encode_root(&root(keys), out));
    write("root.bin", &sealed(&root, &root_key));
    write("release.bin", &sealed(&release, &release_key));
    write("assignment.bin", &sealed(&assignment, &director_key));
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
        product: name("blinker"),
        device_type: name("cortex-m3-sf2"),
        version: Version::new("1.2.3").expect("a version"),
        security_version: 1,
        floor: 1,
        issued: ISSUED,
        reach_fleet_s: Some(600),
    }
}

fn assignment_head(release: &[u8]) -> AssignmentHead {
    AssignmentHead {
        device: Uuid([7; 16]),
        counter: 1,
        issued: ISSUED,
        expires: EXPIRES,
        release: Digest::of(release),
        attempt: 0,
        override_locks: false,
    }
}

fn firmware() -> Component {
    Component {
        name: name("app"),
        kind: Kind::Firmware,
        artifact: Artifact {
            digest: Digest::of(b"app"),
            size: 4096,
        },
        spec: Digest::of(b""),
        settings: None,
        mode: Mode::Service,
        strategy: Strategy::DownloadThenKill,
        health: Health::default(),
        after: Default::default(),
    }
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

fn write(name: &str, bytes: &[u8]) {
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&folder).join(name), bytes).expect("the folder is writable");
}
