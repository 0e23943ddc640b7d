//! A fleet server, and somebody who holds the offline keys.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use lightship_core::id::{Digest, KeyId, PublicKey, Version};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::UnixTime;
use lightship_core::trust::{ReleaseHead, RoleKeys, Root, encode_release, encode_root, seal};
use lightship_fleet::{Config, Handle, Server};
use lightship_spec::container::ContainerSpec;
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::registry::own_architecture;
use crate::relay::Relay;

const PASSWORD: &str = "a password for tests";

pub(crate) struct Shore {
    server: Handle,
    client: Client,
    url: String,
    /// What lies between the devices and the server.
    pub(crate) https: Relay,
    /// What lies between the devices and the hub.
    pub(crate) tunnel: Relay,
    token: String,
    root_document: Vec<u8>,
    _folder: TempDir,
}

fn free_udp_port() -> std::net::SocketAddr {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.local_addr().unwrap()
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

impl Shore {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::on_free_ports(folder.path());
        config.admin.password = Some(PASSWORD.to_owned());
        // The hub has to say where devices find it before it listens, so its port is chosen here.
        let hub = free_udp_port();
        let tunnel = Relay::udp(hub).await;
        config.tunnel.listen = Some(hub);
        config.tunnel.endpoint = Some(tunnel.address.to_string());
        let server = Server::start(config).await.unwrap();
        let authority = Certificate::from_pem(server.authority_pem().as_bytes()).unwrap();
        let client = Client::builder()
            .tls_certs_only([authority])
            .http1_only()
            .build()
            .unwrap();
        let url = server.url();
        let https = url.strip_prefix("https://").unwrap().parse().unwrap();
        let https = Relay::tcp(https).await;
        let mut shore = Self {
            server,
            client,
            url,
            https,
            tunnel,
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

    /// Where devices reach the server.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.https.address)
    }

    pub(crate) fn authority(&self) -> String {
        self.server.authority_pem().to_owned()
    }

    pub(crate) fn root_document(&self) -> &[u8] {
        &self.root_document
    }

    /// Asks the device for something.
    pub(crate) async fn command(&self, command: Value) {
        let uuid = self.device().await.unwrap()["uuid"].clone();
        let path = format!(
            "/api/v1/fleets/harbour/devices/{}/commands",
            uuid.as_str().unwrap()
        );
        self.ask(Method::POST, &path, command).await;
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

    /// As `lightship hub retire` asks for it.
    pub(crate) async fn retire_hub_key(&self) -> Value {
        self.ask(Method::POST, "/api/v1/hub-key/retire", Value::Null)
            .await
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    pub(crate) async fn provisioning_key(&self) -> String {
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let year = 1970 + since_1970 / 31_556_952;
        let end = format!("{}-01-01T00:00:00Z", year + 2);
        let new = json!({"label": "test", "max_uses": 1, "expires_at": end});
        let path = "/api/v1/fleets/harbour/provisioning-keys";
        let made = self.ask(Method::POST, path, new).await;
        made["secret"].as_str().unwrap().to_owned()
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

    pub(crate) async fn device(&self) -> Option<Value> {
        let devices = self
            .ask(Method::GET, "/api/v1/fleets/harbour/devices", Value::Null)
            .await;
        devices.as_array()?.first().cloned()
    }

    /// The lines that the fleet has of a service.
    pub(crate) async fn lines(&self, service: &str) -> Vec<String> {
        let uuid = self.device().await.unwrap()["uuid"].clone();
        let uuid = uuid.as_str().unwrap();
        let path =
            format!("/api/v1/fleets/harbour/devices/{uuid}/logs?service={service}&limit=1000");
        let lines = self.ask(Method::GET, &path, Value::Null).await;
        let lines = lines.as_array().unwrap().iter();
        lines
            .map(|line| line["line"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What answers a GET at a port of the device, through its tunnel; what the server says where nothing does.
    pub(crate) async fn reach(&self, port: u16) -> Result<String, u16> {
        let uuid = self.device().await.unwrap()["uuid"].clone();
        let path = format!(
            "{}/api/v1/fleets/harbour/devices/{}/tunnel/{port}",
            self.url,
            uuid.as_str().unwrap()
        );
        let request = self.client.get(path).bearer_auth(&self.token);
        let request = request
            .header("connection", "upgrade")
            .header("upgrade", "lightship-tunnel")
            .version(reqwest::Version::HTTP_11);
        let answer = request.send().await.unwrap();
        if answer.status() != 101 {
            return Err(answer.status().as_u16());
        }
        let mut stream = answer.upgrade().await.unwrap();
        let asked = b"GET / HTTP/1.0\r\n\r\n";
        stream.write_all(asked).await.unwrap();
        let mut text = Vec::new();
        // A peer that resets the connection after its answer has answered.
        let _ = stream.read_to_end(&mut text).await;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether the device is registered and connected.
    pub(crate) async fn is_online(&self) -> bool {
        let device = self.device().await.unwrap_or_default();
        device["online"].as_bool() == Some(true) && !device["registered_at"].is_null()
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

    pub(crate) async fn upload(&self, bytes: &[u8]) -> String {
        let digest = format!("sha256:{}", Digest::of(bytes));
        let path = format!("{}/v2/harbour/blobs/uploads/?digest={digest}", self.url);
        let request = self.client.post(path).bearer_auth(&self.token);
        let answer = request.body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        digest
    }

    /// Uploads an image of busybox and says what it is.
    pub(crate) async fn image(&self) -> Artifact {
        let mut layer = tar::Builder::new(Vec::new());
        layer
            .append_path_with_name("/bin/busybox", "bin/busybox")
            .unwrap();
        // Enough for a pull to take a moment, and a checksum to tell whether all of it is there.
        let mut text = String::new();
        for number in 0..400_000_u64 {
            let _ = writeln!(text, "{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        let sum = format!("{}  /data\n", Digest::of(text.as_bytes()));
        for (name, bytes) in [("data", text.as_bytes()), ("sum", sum.as_bytes())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            layer.append_data(&mut header, name, bytes).unwrap();
        }
        let layer = layer.into_inner().unwrap();
        let layer_digest = self.upload(&layer).await;
        let config = json!({
            "architecture": own_architecture(), "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        });
        let config = config.to_string().into_bytes();
        let config_digest = self.upload(&config).await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}],
        });
        self.keep_manifest(manifest.to_string().into_bytes()).await
    }

    /// Uploads the manifest of an image whose other parts are there.
    pub(crate) async fn keep_manifest(&self, manifest: Vec<u8>) -> Artifact {
        let digest = Digest::of(&manifest);
        let path = format!("{}/v2/harbour/manifests/sha256:{digest}", self.url);
        let request = self.client.put(path).bearer_auth(&self.token);
        let request = request.header("content-type", "application/vnd.oci.image.manifest.v1+json");
        let size = manifest.len() as u64;
        let answer = request.body(manifest).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        Artifact { digest, size }
    }

    /// Pushes a release of one container that runs this command, signed by the publisher.
    pub(crate) async fn push(&self, version: &str, command: &[&str]) -> Digest {
        self.push_with(version, command, json!({})).await.0
    }

    /// The same with more in the container's spec; the release, and that spec.
    pub(crate) async fn push_with(
        &self,
        version: &str,
        command: &[&str],
        more: Value,
    ) -> (Digest, Digest) {
        let artifact = self.image().await;
        let mut more = more;
        more["image"] = json!(format!("{}/harbour", self.https.address));
        self.push_image(version, artifact, command, more).await
    }

    /// The same for an image that is somewhere: `more` says where.
    pub(crate) async fn push_image(
        &self,
        version: &str,
        artifact: Artifact,
        command: &[&str],
        more: Value,
    ) -> (Digest, Digest) {
        let strategy = Strategy::default();
        self.push_by(strategy, version, artifact, command, more)
            .await
    }

    /// The same, and how it takes the place of what runs.
    pub(crate) async fn push_by(
        &self,
        strategy: Strategy,
        version: &str,
        artifact: Artifact,
        command: &[&str],
        more: Value,
    ) -> (Digest, Digest) {
        let component = self.component("web", artifact, command, more).await;
        let component = Component {
            strategy,
            ..component
        };
        let spec = component.spec;
        (self.publish(version, &[component]).await, spec)
    }

    /// A service that runs this command; its spec is uploaded.
    pub(crate) async fn component(
        &self,
        name: &str,
        artifact: Artifact,
        command: &[&str],
        more: Value,
    ) -> Component {
        let mut spec = json!({
            "version": 1, "application": "harbour",
            "command": command, "network": {"mode": "host"}, "restart": "no",
        });
        if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            spec.extend(more.clone());
        }
        let spec = spec.to_string().into_bytes();
        ContainerSpec::decode(&spec).unwrap();
        self.upload(&spec).await;
        Component {
            name: name.parse().unwrap(),
            kind: Kind::Container,
            artifact,
            spec: Digest::of(&spec),
            settings: None,
            mode: Mode::Service,
            strategy: Strategy::default(),
            health: Health {
                grace_s: 5,
                window_s: 2,
                failures: 0,
            },
            after: heapless::Vec::new(),
        }
    }

    /// Publishes a release of these, signed by the publisher.
    pub(crate) async fn publish(&self, version: &str, components: &[Component]) -> Digest {
        let head = ReleaseHead {
            product: "harbour".parse().unwrap(),
            device_type: "board".parse().unwrap(),
            version: Version::new(version).unwrap(),
            security_version: 1,
            floor: 0,
            issued: UnixTime(1_700_000_000),
            reach_fleet_s: Some(60),
        };
        let mut payload = vec![0; DOCUMENT_BYTES];
        let len = encode_release(&head, components, &mut payload).unwrap();
        let document = STANDARD.encode(signed(&payload[..len], &key(2)));
        let path = "/api/v1/fleets/harbour/releases";
        self.ask(Method::POST, path, json!({"documents": [document]}))
            .await;
        Digest::of(&payload[..len])
    }
}
