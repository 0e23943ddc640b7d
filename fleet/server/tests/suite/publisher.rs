//! Somebody who holds the offline keys of a fleet.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_core::id::{Digest, KeyId, PublicKey, Version};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::UnixTime;
use lightship_core::trust::{ReleaseHead, RoleKeys, Root, encode_release, encode_root, seal};
use reqwest::Method;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::site::Person;

/// The keys, and the newest root that they signed.
pub(crate) struct Publisher {
    root_key: Ed25519KeyPair,
    release_key: Ed25519KeyPair,
    pub(crate) root: Root,
    pub(crate) root_document: Vec<u8>,
    pub(crate) fleet: String,
}

fn public(pair: &Ed25519KeyPair) -> PublicKey {
    PublicKey(pair.public_key().as_ref().try_into().unwrap())
}

fn signed(payload: &[u8], keys: &[&Ed25519KeyPair]) -> Vec<u8> {
    let sign = |pair: &&Ed25519KeyPair| {
        (
            KeyId::of(&public(pair)),
            pair.sign(payload).as_ref().try_into().unwrap(),
        )
    };
    let signatures: Vec<_> = keys.iter().map(sign).collect();
    let mut out = vec![0; DOCUMENT_BYTES];
    let len = seal(payload, &signatures, &mut out).unwrap();
    out.truncate(len);
    out
}

impl Publisher {
    /// Makes keys and a root that names the server's director, for a fleet that is there.
    pub(crate) async fn of(owner: &Person, fleet: &str) -> Self {
        let key = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let shown = owner.ok(Method::GET, "/api/v1/director", None).await;
        let director: PublicKey = shown["public_key"].as_str().unwrap().parse().unwrap();
        let (root_key, release_key) = (key(1), key(2));
        let one = |members| RoleKeys {
            members,
            threshold: 1,
        };
        let keys = [public(&root_key), public(&release_key), director];
        let root = Root {
            version: 1,
            issued: UnixTime(1_700_000_000),
            expires: UnixTime(4_000_000_000),
            floor: 0,
            keys: keys.into_iter().collect(),
            root: one(1),
            release: one(2),
            director: one(4),
        };
        let mut publisher = Self {
            root_key,
            release_key,
            root,
            root_document: Vec::new(),
            fleet: fleet.to_owned(),
        };
        publisher.root_document = publisher.signed_root();
        publisher
    }

    fn signed_root(&self) -> Vec<u8> {
        let mut payload = vec![0; DOCUMENT_BYTES];
        let len = encode_root(&self.root, &mut payload).unwrap();
        signed(&payload[..len], &[&self.root_key])
    }

    /// The next version, with nothing changed but its number.
    pub(crate) fn next_root(&mut self) {
        self.root.version += 1;
        self.root_document = self.signed_root();
    }

    pub(crate) async fn upload_root(&self, owner: &Person) {
        let body = json!({"document": STANDARD.encode(&self.root_document)});
        owner
            .ok(
                Method::POST,
                &format!("/api/v1/fleets/{}/roots", self.fleet),
                Some(body),
            )
            .await;
    }

    /// A release of one firmware component, signed.
    pub(crate) fn firmware(&self, version: &str, image: &[u8], device_type: &str) -> Vec<u8> {
        let component = Component {
            name: "app".parse().unwrap(),
            kind: Kind::Firmware,
            artifact: Artifact {
                digest: Digest::of(image),
                size: image.len() as u64,
            },
            spec: Digest::of(b""),
            settings: None,
            mode: Mode::Service,
            strategy: Strategy::default(),
            after: heapless::Vec::new(),
            health: Health::default(),
        };
        let head = ReleaseHead {
            product: self.fleet.parse().unwrap(),
            device_type: device_type.parse().unwrap(),
            version: Version::new(version).unwrap(),
            security_version: 1,
            floor: 0,
            issued: UnixTime(1_700_000_000),
            reach_fleet_s: None,
        };
        let mut payload = vec![0; DOCUMENT_BYTES];
        let len = encode_release(&head, &[component], &mut payload).unwrap();
        signed(&payload[..len], &[&self.release_key])
    }

    /// Uploads an image and a release of it; nothing if the server is gone.
    pub(crate) async fn try_push(
        &self,
        developer: &Person,
        version: &str,
        image: &[u8],
        draft: bool,
    ) -> Option<Value> {
        let blob = format!(
            "/v2/{}/blobs/uploads/?digest=sha256:{}",
            self.fleet,
            Digest::of(image)
        );
        developer
            .request(Method::POST, &blob)
            .body(image.to_vec())
            .send()
            .await
            .ok()?
            .error_for_status()
            .ok()?;
        let document = STANDARD.encode(self.firmware(version, image, "board"));
        let request = developer.request(
            Method::POST,
            &format!("/api/v1/fleets/{}/releases", self.fleet),
        );
        let answer = request
            .json(&json!({"documents": [document], "draft": draft}))
            .send()
            .await
            .ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }

    /// Uploads an image and a release of it.
    pub(crate) async fn push(
        &self,
        developer: &Person,
        version: &str,
        image: &[u8],
        draft: bool,
    ) -> Value {
        upload_blob(developer, &self.fleet, image).await;
        let document = STANDARD.encode(self.firmware(version, image, "board"));
        let body = json!({"documents": [document], "draft": draft});
        developer
            .ok(
                Method::POST,
                &format!("/api/v1/fleets/{}/releases", self.fleet),
                Some(body),
            )
            .await
    }
}

/// Sends a blob to a repository in one request.
pub(crate) async fn upload_blob(developer: &Person, repository: &str, bytes: &[u8]) {
    let path = format!(
        "/v2/{repository}/blobs/uploads/?digest=sha256:{}",
        Digest::of(bytes)
    );
    let sent = developer
        .request(Method::POST, &path)
        .body(bytes.to_vec())
        .send()
        .await
        .unwrap();
    let status = sent.status();
    assert_eq!(status, 201, "{}", sent.text().await.unwrap());
}
