//! A fleet server with a tunnel hub, and somebody who holds the offline keys.

use std::net::{SocketAddr, UdpSocket};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use lightship_board_host::{Behaviour, Image};
use lightship_core::id::{Digest, Endpoint, KeyId, Name, ProvisioningKey, PublicKey, Version};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::UnixTime;
use lightship_core::trust::{ReleaseHead, RoleKeys, Root, encode_release, encode_root, seal};
use lightship_fleet::{Config, Handle, Server};
use lightship_mcu::config::{BLOCK_BYTES, Config as Block, Entrance, Root as RootDocument};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSWORD: &str = "a password for tests";
/// What the devices are.
pub(crate) const DEVICE_TYPE: &str = "pump";

pub(crate) struct Shore {
    device_type: &'static str,
    /// The host's loopback, as the devices see it.
    host: &'static str,
    server: Handle,
    client: Client,
    url: String,
    token: String,
    root_document: Vec<u8>,
    _folder: TempDir,
}

/// A UDP port that nobody has now: devices are told of it before the hub listens.
fn free_port(any: SocketAddr) -> SocketAddr {
    UdpSocket::bind(any).unwrap().local_addr().unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

fn signed(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = (KeyId::of(&public(key)), key.sign(payload).to_bytes());
    let mut out = vec![0; DOCUMENT_BYTES];
    let len = seal(payload, &[signature], &mut out).unwrap();
    out.truncate(len);
    out
}

/// An image, signed by the publisher.
pub(crate) fn image(version: &str, size: usize, behaviour: Behaviour) -> Vec<u8> {
    let image = Image {
        device_type: DEVICE_TYPE,
        version: version.parse().unwrap(),
        security_version: 1,
        size,
        behaviour,
    };
    image
        .build(|message| key(2).sign(message).to_bytes())
        .unwrap()
}

impl Shore {
    pub(crate) async fn start() -> Self {
        Self::start_for(DEVICE_TYPE, "127.0.0.1").await
    }

    /// A fleet for devices of a type that see the host's loopback at an address of their own.
    pub(crate) async fn start_for(device_type: &'static str, host: &'static str) -> Self {
        Self::start_with(device_type, host, |_| ()).await
    }

    /// The same, with a server that is configured otherwise.
    pub(crate) async fn start_with(
        device_type: &'static str,
        host: &'static str,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::on_free_ports(folder.path());
        config.admin.password = Some(PASSWORD.to_owned());
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let hub = free_port(free);
        config.tunnel.listen = Some(hub);
        config.tunnel.endpoint = Some(format!("{host}:{}", hub.port()));
        config.tunnel.enrolment = Some(free);
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        let authority = Certificate::from_pem(server.authority_pem().as_bytes()).unwrap();
        let client = Client::builder()
            .tls_certs_only([authority])
            .build()
            .unwrap();
        let url = server.url();
        let mut shore = Self {
            device_type,
            host,
            server,
            client,
            url,
            token: String::new(),
            root_document: Vec::new(),
            _folder: folder,
        };
        let login = json!({"name": "admin", "password": PASSWORD});
        let session = shore.ask(Method::POST, "/api/v1/session", login).await;
        session["secret"]
            .as_str()
            .unwrap()
            .clone_into(&mut shore.token);
        shore
            .ask(Method::POST, "/api/v1/fleets", json!({"name": "harbour"}))
            .await;
        shore.found_trust().await;
        shore
    }

    /// Makes the fleet's first root, which names the server's director, and uploads it.
    async fn found_trust(&mut self) {
        let shown = self.ask(Method::GET, "/api/v1/director", Value::Null).await;
        let director: PublicKey = shown["public_key"].as_str().unwrap().parse().unwrap();
        let one = |members| RoleKeys {
            members,
            threshold: 1,
        };
        let root = Root {
            version: 1,
            issued: UnixTime(1_700_000_000),
            expires: UnixTime(4_000_000_000),
            floor: 0,
            keys: [public(&key(1)), public(&key(2)), director]
                .into_iter()
                .collect(),
            root: one(1),
            release: one(2),
            director: one(4),
        };
        let mut payload = vec![0; DOCUMENT_BYTES];
        let len = encode_root(&root, &mut payload).unwrap();
        self.root_document = signed(&payload[..len], &key(1));
        let body = json!({"document": STANDARD.encode(&self.root_document)});
        self.ask(Method::POST, "/api/v1/fleets/harbour/roots", body)
            .await;
    }

    /// The hub's keys, and how many devices have not used the newest.
    pub(crate) async fn hub_key(&self) -> Value {
        self.ask(Method::GET, "/api/v1/hub-key", Value::Null).await
    }

    /// As `lightship hub rotate --over 0s` asks for it.
    pub(crate) async fn rotate_hub_key(&self) -> Value {
        let body = json!({"over_s": 0});
        self.ask(Method::POST, "/api/v1/hub-key/rotate", body).await
    }

    /// Where its broker listens.
    #[allow(dead_code, reason = "the boards' test uses it")]
    pub(crate) fn broker(&self) -> SocketAddr {
        self.server.mqtt()
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// The block that goes into a device's flash, as `lightship config` makes it.
    pub(crate) async fn block(&self) -> Vec<u8> {
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let year = 1970 + since_1970 / 31_556_952;
        let end = format!("{}-01-01T00:00:00Z", year + 2);
        let new = json!({"label": "test", "max_uses": 1, "expires_at": end});
        let path = "/api/v1/fleets/harbour/provisioning-keys";
        let made = self.ask(Method::POST, path, new).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let secret: PublicKey = text(&made["secret"]).parse().unwrap();
        let endpoint = text(&made["enrolment"]["endpoint"]);
        let (_, port) = endpoint.rsplit_once(':').unwrap();
        let block = Block {
            device_type: Name::new(self.device_type).unwrap(),
            product: Name::new("harbour").unwrap(),
            name: None,
            entrance: Some(Entrance {
                provisioning_key: ProvisioningKey(secret.0),
                hub: text(&made["enrolment"]["hub"]).parse().unwrap(),
                endpoint: Endpoint::new(&format!("{}:{port}", self.host)).unwrap(),
            }),
            rotation_period_s: None,
            root: RootDocument(&self.root_document),
        };
        let mut bytes = vec![0; BLOCK_BYTES];
        let len = block.encode(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The fleet's only device.
    pub(crate) async fn device(&self) -> Option<Value> {
        let devices = self
            .ask(Method::GET, "/api/v1/fleets/harbour/devices", Value::Null)
            .await;
        devices.as_array()?.first().cloned()
    }

    /// The device's state in its latest report.
    pub(crate) async fn state(&self) -> String {
        let device = self.device().await.unwrap_or_default();
        device["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the device last said that it has committed this release.
    pub(crate) async fn shows(&self, release: &Digest) -> bool {
        let device = self.device().await.unwrap_or_default();
        device["running"].as_str() == Some(&release.to_string())
    }

    /// Orders something of the device.
    pub(crate) async fn command(&self, order: Value) {
        let device = self.device().await.unwrap();
        let uuid = device["uuid"].as_str().unwrap();
        let path = format!("/api/v1/fleets/harbour/devices/{uuid}/commands");
        self.ask(Method::POST, &path, order).await;
    }

    /// The lines of the device's log.
    pub(crate) async fn logs(&self) -> Vec<Value> {
        let device = self.device().await.unwrap();
        let uuid = device["uuid"].as_str().unwrap();
        let path = format!("/api/v1/fleets/harbour/devices/{uuid}/logs");
        let lines = self.ask(Method::GET, &path, Value::Null).await;
        lines.as_array().cloned().unwrap_or_default()
    }

    async fn upload(&self, bytes: &[u8]) {
        let digest = format!("sha256:{}", Digest::of(bytes));
        let path = format!(
            "{}/v2/harbour/firmware/blobs/uploads/?digest={digest}",
            self.url
        );
        let request = self.client.post(path).bearer_auth(&self.token);
        let answer = request.body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    /// Pushes a release of one image, signed by the publisher.
    pub(crate) async fn push(&self, version: &str, image: &[u8]) -> Digest {
        self.upload(image).await;
        let component = Component {
            name: Name::new("firmware").unwrap(),
            kind: Kind::Firmware,
            artifact: Artifact {
                digest: Digest::of(image),
                size: image.len() as u64,
            },
            spec: Digest::of(&[]),
            settings: None,
            mode: Mode::Service,
            strategy: Strategy::default(),
            health: Health {
                grace_s: 5,
                window_s: 1,
                failures: 0,
            },
            after: heapless::Vec::new(),
        };
        let head = ReleaseHead {
            product: Name::new("harbour").unwrap(),
            device_type: Name::new(self.device_type).unwrap(),
            version: Version::new(version).unwrap(),
            security_version: 1,
            floor: 0,
            issued: UnixTime(1_700_000_000),
            reach_fleet_s: Some(60),
        };
        let mut payload = vec![0; DOCUMENT_BYTES];
        let len = encode_release(&head, &[component], &mut payload).unwrap();
        let document = STANDARD.encode(signed(&payload[..len], &key(2)));
        let path = "/api/v1/fleets/harbour/releases";
        self.ask(Method::POST, path, json!({"documents": [document]}))
            .await;
        Digest::of(&payload[..len])
    }
}
