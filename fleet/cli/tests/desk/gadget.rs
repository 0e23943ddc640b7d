//! A device, as far as its conversation with the server goes.
#![allow(dead_code, reason = "each test uses a part of it")]

use lightship_core::id::{ApiKey, Digest, ProvisioningKey, PublicKey as DeviceKey, Uuid};
use lightship_core::wire::{Register, Up};
use lightship_wireguard::SecretKey;
use serde_json::Value;

use crate::desk::Desk;

/// The device's uuid.
pub(crate) const UUID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

/// A device as far as HTTPS goes.
pub(crate) struct Gadget {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) bearer: String,
}

impl Gadget {
    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.http.post(format!("{}/device/v1/{path}", self.url));
        let request = request.bearer_auth(&self.bearer).json(body);
        request.send().await.unwrap()
    }

    /// Registers with a key that the command line made; returns what the device is told as well.
    pub(crate) async fn register(desk: &Desk, tunnel: &SecretKey) -> (Self, Value) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = desk.json(&["fleet", "key", "create", "--uses", "1"]);
        let secret: Digest = key["secret"].as_str().unwrap().parse().unwrap();
        let login = std::fs::read_to_string(desk.path("data/ca.pem")).unwrap();
        let authority = reqwest::Certificate::from_pem(login.as_bytes()).unwrap();
        let gadget = Self {
            http: reqwest::Client::builder()
                .tls_certs_only([authority])
                .build()
                .unwrap(),
            url: desk.url.clone(),
            bearer: format!("{UUID}.{}", "07".repeat(32)),
        };
        let register = Up::Register(Register {
            uuid: UUID.parse::<Uuid>().unwrap(),
            provisioning_key: ProvisioningKey(secret.0),
            api_key: ApiKey([7; 32]),
            wireguard: DeviceKey(tunnel.public().0),
            device_type: "pi".parse().unwrap(),
            name: Some("crane".parse().unwrap()),
        });
        let answer = gadget
            .post("register", &serde_json::to_value(register).unwrap())
            .await;
        assert_eq!(answer.status(), 200);
        (gadget, answer.json().await.unwrap())
    }
}
