//! A device, as far as its conversation with the server goes.

use lightship_core::id::{ApiKey, Digest, ProvisioningKey, PublicKey, Uuid};
use lightship_core::wire::{NewKey, Register, Report, Up};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::site::{Person, Site};

/// A device with its keys.
#[derive(Clone)]
pub(crate) struct Gadget {
    pub(crate) person: Person,
    pub(crate) uuid: Uuid,
    pub(crate) key: ApiKey,
}

/// A year from now: what expires then does not expire in a test, whenever that runs.
pub(crate) fn next_year() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let at = now + std::time::Duration::from_secs(365 * 24 * 3600);
    lightship_api::Timestamp::from_millis(i64::try_from(at.as_millis()).unwrap()).to_string()
}

/// A provisioning key of a fleet.
pub(crate) async fn provisioning_key(operator: &Person, fleet: &str, max_uses: u32) -> String {
    let new = json!({"label": "test", "max_uses": max_uses, "expires_at": next_year()});
    let made = operator
        .ok(
            Method::POST,
            &format!("/api/v1/fleets/{fleet}/provisioning-keys"),
            Some(new),
        )
        .await;
    made["secret"].as_str().unwrap().to_owned()
}

impl Gadget {
    pub(crate) fn of(person: &Person, seed: u8) -> Self {
        Self {
            person: person.clone(),
            uuid: Uuid::from_random([seed; 16]),
            key: ApiKey([seed; 32]),
        }
    }

    /// The status, or nothing if the server is gone.
    pub(crate) async fn try_register(&self, provisioning_key: &str) -> Option<u16> {
        let message = serde_json::to_value(self.message(provisioning_key)).unwrap();
        let request = self
            .person
            .request(Method::POST, "/device/v1/register")
            .json(&message);
        Some(request.send().await.ok()?.status().as_u16())
    }

    /// The status and the counter of the target, or nothing if the server is gone.
    pub(crate) async fn try_poll(&self, query: &str) -> Option<(u16, u64)> {
        let answer = self
            .request(Method::GET, &format!("target?{query}"))
            .send()
            .await
            .ok()?;
        let tag = answer
            .headers()
            .get("etag")
            .and_then(|tag| tag.to_str().ok()?.trim_matches('"').parse().ok());
        Some((answer.status().as_u16(), tag.unwrap_or_default()))
    }

    /// The status, or nothing if the server is gone.
    pub(crate) async fn try_propose(&self, key: NewKey) -> Option<u16> {
        let body = serde_json::to_value(Up::ProposeKey(key)).unwrap();
        Some(
            self.request(Method::POST, "keys")
                .json(&body)
                .send()
                .await
                .ok()?
                .status()
                .as_u16(),
        )
    }

    /// The status, or nothing if the server is gone.
    pub(crate) async fn try_report(&self, report: &Report) -> Option<u16> {
        let body = serde_json::to_value(Up::Report(report.clone())).unwrap();
        Some(
            self.request(Method::POST, "report")
                .json(&body)
                .send()
                .await
                .ok()?
                .status()
                .as_u16(),
        )
    }

    pub(crate) fn new(site: &Site, seed: u8) -> Self {
        Self {
            person: site.nobody(),
            uuid: Uuid::from_random([seed; 16]),
            key: ApiKey([seed; 32]),
        }
    }

    /// A device that is registered.
    pub(crate) async fn registered(site: &Site, seed: u8, provisioning_key: &str) -> Self {
        let gadget = Self::new(site, seed);
        let answer = gadget.register(provisioning_key).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        gadget
    }

    /// The same device, after the server moved.
    pub(crate) fn at(&self, site: &Site) -> Self {
        Self {
            person: site.nobody(),
            ..self.clone()
        }
    }

    pub(crate) fn message(&self, provisioning_key: &str) -> Up {
        let secret: Digest = provisioning_key.parse().unwrap();
        Up::Register(Register {
            uuid: self.uuid,
            provisioning_key: ProvisioningKey(secret.0),
            api_key: self.key,
            wireguard: PublicKey(Digest::of(&self.key.0).0),
            device_type: "board".parse().unwrap(),
            name: None,
        })
    }

    pub(crate) async fn register(&self, provisioning_key: &str) -> Response {
        let message = serde_json::to_value(self.message(provisioning_key)).unwrap();
        self.person
            .send(Method::POST, "/device/v1/register", Some(message))
            .await
    }

    /// Registers with this tunnel key.
    pub(crate) async fn register_with(
        &self,
        provisioning_key: &str,
        wireguard: [u8; 32],
    ) -> Response {
        let Up::Register(mut asked) = self.message(provisioning_key) else {
            unreachable!("a registration is what it is")
        };
        asked.wireguard = PublicKey(wireguard);
        let message = serde_json::to_value(Up::Register(asked)).unwrap();
        self.person
            .send(Method::POST, "/device/v1/register", Some(message))
            .await
    }

    pub(crate) fn bearer(&self) -> String {
        format!("{}.{}", self.uuid, hex::encode(self.key.0))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.person
            .request(method, &format!("/device/v1/{path}"))
            .bearer_auth(self.bearer())
    }

    /// Asks for news; `had` are the entity tags of what it has had.
    pub(crate) async fn poll(&self, query: &str, had: &str, wait_s: u32) -> (u16, String, Value) {
        let request = self.request(Method::GET, &format!("target?{query}"));
        let request = request
            .header("if-none-match", had)
            .header("prefer", format!("wait={wait_s}"));
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let tag = answer
            .headers()
            .get("etag")
            .map(|tag| tag.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let text = answer.text().await.unwrap();
        (
            status,
            tag,
            serde_json::from_str(&text).unwrap_or(Value::Null),
        )
    }

    pub(crate) async fn report(&self, report: &Report) -> u16 {
        let body = serde_json::to_value(Up::Report(report.clone())).unwrap();
        self.request(Method::POST, "report")
            .json(&body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    pub(crate) async fn propose(&self, key: NewKey) -> Response {
        let body = serde_json::to_value(Up::ProposeKey(key)).unwrap();
        self.request(Method::POST, "keys")
            .json(&body)
            .send()
            .await
            .unwrap()
    }
}

/// A report of a device that runs `committed`.
pub(crate) fn report(counter: u64, committed: Option<Digest>) -> Report {
    Report {
        sequence: 1,
        boot: 1,
        counter,
        root: 1,
        committed,
        version: None,
        trial: None,
        rejected: None,
        offence: None,
        frozen: false,
        unsaved: false,
        components: heapless::Vec::new(),
    }
}
