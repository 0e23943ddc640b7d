//! The tunnel: what a device reaches through it, and what people reach of a device.

use std::time::Duration;

use lightship_wireguard::tunnel::{Backend, KeepAlive, KeySet, Tunnel, TunnelConfig};
use lightship_wireguard::{Buffers, PresharedKey, PublicKey, SecretKey};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gadget::{Gadget, next_year, provisioning_key};
use crate::site::{Database, Person, Site, on_both_databases};

/// A virtual machine is slow, and what an interface knows is some seconds old.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with a hub: in its process, and in the virtual machine on the kernel's WireGuard.
async fn site(database: Option<String>) -> Site {
    Site::start_with(database, |config| {
        config.tunnel.listen = Some("127.0.0.1:0".parse().unwrap());
        config.tunnel.enrolment = Some("127.0.0.1:0".parse().unwrap());
        crate::kernel::instead(&mut config.tunnel);
    })
    .await
}

/// Registers a device and opens its tunnel as the answer says.
async fn tunnelled(site: &Site, seed: u8, key: &str) -> (Gadget, Tunnel, u16, SecretKey) {
    let gadget = Gadget::new(site, seed);
    let secret = SecretKey::generate();
    let answer: Value = gadget
        .register_with(key, secret.public().0)
        .await
        .json()
        .await
        .unwrap();
    let told = &answer["registered"]["tunnel"];
    let tunnel = opened(told, &secret).await;
    let port = u16::try_from(told["http_port"].as_u64().unwrap()).unwrap();
    (gadget, tunnel, port, secret)
}

/// Opens the tunnel that a device was told of.
async fn opened(told: &Value, secret: &SecretKey) -> Tunnel {
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    let key = |text: &str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    let preshared = told["preshared"]
        .as_str()
        .map(|text| PresharedKey(key(text)));
    open(TunnelConfig {
        keys: KeySet {
            secret: secret.clone(),
            hub: PublicKey(key(&text("hub"))),
            preshared: preshared.unwrap_or_default(),
        },
        pending: None,
        hub: text("endpoint").parse().unwrap(),
        hub_address: text("gateway").parse().unwrap(),
        address: text("address").parse().unwrap(),
        keep_alive: KeepAlive::Learned,
    })
    .await
}

/// The devices are not what is tested here, and leave this machine's network alone.
async fn open(config: TunnelConfig) -> Tunnel {
    let tunnel = Tunnel::open_with(config, &[Backend::InProcess]);
    tunnel.await.unwrap()
}

/// What the fleet tells a device of its tunnel when it asks for news, and under which tag.
async fn told(gadget: &Gadget, tags: &str) -> Option<(String, Value)> {
    let request = gadget.request(Method::GET, "target?root=1");
    let answer = request.header("if-none-match", tags).send().await.unwrap();
    if answer.status() == 304 {
        return None;
    }
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let message: Value = answer.json().await.unwrap();
    Some((tag, message["tunnel"].clone()))
}

/// Asks until the hub's key is as it should be.
async fn hub_key(admin: &Person, wanted: impl Fn(&Value) -> bool) -> Value {
    let work = async {
        loop {
            let shown = admin.ok(Method::GET, "/api/v1/hub-key", None).await;
            if wanted(&shown) {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

on_both_databases! {
    async fn the_hubs_key_is_replaced_under_devices_that_are_there_and_ones_that_come_back(database: Database) {
        let mut site = site(database.0).await;
        let (admin, key) = harbour(&site).await;
        let (here, old, port, here_secret) = tunnelled(&site, 1, &key).await;
        let (away, former, _, away_secret) = tunnelled(&site, 2, &key).await;
        for (gadget, tunnel) in [(&here, &old), (&away, &former)] {
            assert_eq!(
                inside(tunnel, port, "/device/v1/target?root=1", &gadget.bearer()).await,
                "304"
            );
        }
        let before = hub_key(&admin, |shown| shown["behind"] == 0).await;
        assert!(before["former"].is_null());
        assert_eq!(
            admin
                .status(Method::POST, "/api/v1/hub-key/retire", None)
                .await,
            409,
            "there is no former key"
        );
        drop(former);

        let rotate = || {
            admin
                .request(Method::POST, "/api/v1/hub-key/rotate")
                .json(&json!({"over_s": 0}))
        };
        assert_eq!(rotate().send().await.unwrap().status(), 202);
        assert_eq!(
            rotate().send().await.unwrap().status(),
            409,
            "one at a time"
        );
        let during = hub_key(&admin, |_| true).await;
        assert_eq!(during["former"], before["key"]);
        assert_eq!(during["behind"], 2);

        // The device that is there is told, once, and the old way stays open until it uses the new one.
        let news = async {
            loop {
                if let Some(news) = told(&here, "").await {
                    return news;
                }
            }
        };
        let (tag, terms) = tokio::time::timeout(PATIENCE, news).await.unwrap();
        assert_eq!(terms["hub"], during["key"]);
        assert!(told(&here, &tag).await.is_none(), "it knows");
        assert_eq!(
            inside(&old, port, "/device/v1/target", "nobody").await,
            "401"
        );
        let new = opened(&terms, &here_secret).await;
        drop(old);
        assert_eq!(
            inside(&new, port, "/device/v1/target", "nobody").await,
            "401"
        );
        hub_key(&admin, |shown| shown["behind"] == 1).await;
        assert!(told(&here, "").await.is_none(), "it uses it");

        // The other comes back after the server was restarted, by the way that it knows.
        if !crate::kernel::is_inside() {
            site.restart().await;
        }
        let admin = site.admin().await;
        let away = away.at(&site);
        let still = hub_key(&admin, |_| true).await;
        assert_eq!(
            (&still["former"], &still["behind"]),
            (&before["key"], &json!(1))
        );
        let (_, terms) = told(&away, "").await.expect("it is told when it is back");
        assert_eq!(terms["hub"], during["key"]);
        let new = opened(&terms, &away_secret).await;
        assert_eq!(
            inside(&new, port, "/device/v1/target", "nobody").await,
            "401"
        );
        let after = hub_key(&admin, |shown| shown["former"].is_null()).await;
        assert_eq!(
            after["key"], during["key"],
            "and with the last the former key is gone"
        );
        let changes = admin.ok(Method::GET, "/api/v1/changes?limit=9", None).await;
        let changes = changes["changes"].as_array().unwrap();
        assert!(
            changes
                .iter()
                .any(|change| change["what"] == "hub-key.rotated")
        );
    }

    async fn a_device_gets_a_pre_shared_key_of_its_own_with_its_other_new_keys(database: Database) {
        let site = site(database.0).await;
        let (admin, key) = harbour(&site).await;
        let (gadget, old, port, secret) = tunnelled(&site, 1, &key).await;
        assert_eq!(
            inside(&old, port, "/device/v1/target", "nobody").await,
            "401"
        );
        let path = format!("/api/v1/fleets/harbour/devices/{}/commands", gadget.uuid);
        for _ in 0..2 {
            let rotate = json!({"command": "rotate"});
            admin.ok(Method::POST, &path, Some(rotate)).await;
        }
        let terms = told_last(&gadget).await;
        assert!(terms["preshared"].is_string(), "{terms}");
        assert_eq!(
            inside(&old, port, "/device/v1/target", "nobody").await,
            "401"
        );
        drop(old);
        let new = opened(&terms, &secret).await;
        assert_eq!(
            inside(&new, port, "/device/v1/target", "nobody").await,
            "401"
        );
        let used = async { while told_last(&gadget).await.is_object() {} };
        tokio::time::timeout(PATIENCE, used).await.unwrap();
    }
}

/// What comes after the commands.
async fn told_last(gadget: &Gadget) -> Value {
    let request = gadget.request(Method::GET, "target?root=1&command=1000");
    let answer = request.send().await.unwrap();
    if answer.status() == 304 {
        return Value::Null;
    }
    let message: Value = answer.json().await.unwrap();
    message["tunnel"].clone()
}

/// The status of a request through the tunnel.
async fn inside(tunnel: &Tunnel, port: u16, path: &str, bearer: &str) -> String {
    let work = async {
        let mut stream = tunnel.dial(port, Buffers::default()).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: fleet\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer)
            .split_whitespace()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

async fn harbour(site: &Site) -> (Person, String) {
    let admin = site.admin().await;
    admin
        .ok(
            Method::POST,
            "/api/v1/fleets",
            Some(json!({"name": "harbour"})),
        )
        .await;
    let key = provisioning_key(&admin, "harbour", 9).await;
    (admin, key)
}

on_both_databases! {
    async fn a_device_reaches_its_own_routes_through_the_tunnel_and_no_others(database: Database) {
        let site = site(database.0).await;
        let (admin, key) = harbour(&site).await;
        let (gadget, tunnel, port, _) = tunnelled(&site, 1, &key).await;
        assert_eq!(
            inside(&tunnel, port, "/device/v1/target?root=1", &gadget.bearer()).await,
            "304"
        );
        assert_eq!(
            inside(&tunnel, port, "/device/v1/target", "nobody").await,
            "401"
        );
        assert_eq!(
            inside(
                &tunnel,
                port,
                "/api/v1/fleets",
                admin.token.as_deref().unwrap()
            )
            .await,
            "404"
        );
        let path = format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid);
        // What an interface knows is some seconds old.
        let shown = async {
            while !admin.ok(Method::GET, &path, None).await["last_handshake_at"].is_string() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.unwrap();
    }

    async fn a_person_reaches_a_port_of_a_device(database: Database) {
        let site = site(database.0).await;
        let (admin, key) = harbour(&site).await;
        let (gadget, tunnel, port, _) = tunnelled(&site, 1, &key).await;
        inside(&tunnel, port, "/device/v1/target", &gadget.bearer()).await;
        let mut echo = tunnel.listen(22, Buffers::default()).await.unwrap();
        tokio::spawn(async move {
            while let Some(mut stream) = echo.accept().await {
                let mut heard = [0; 5];
                stream.read_exact(&mut heard).await.unwrap();
                stream.write_all(&heard).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let path = |port: u16| {
            format!(
                "/api/v1/fleets/harbour/devices/{}/tunnel/{port}",
                gadget.uuid
            )
        };
        let upgrade = |port: u16| {
            admin
                .request(Method::GET, &path(port))
                .header("connection", "upgrade")
                .header("upgrade", "lightship-tunnel")
        };
        let opened = tokio::time::timeout(PATIENCE, upgrade(22).send())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(opened.status(), 101, "{}", opened.text().await.unwrap());
        let mut stream = opened.upgrade().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut heard))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&heard, b"hello");
        assert_eq!(
            upgrade(23).send().await.unwrap().status(),
            409,
            "nobody listens there"
        );
        assert_eq!(
            admin.status(Method::GET, &path(22), None).await,
            400,
            "without asking for an upgrade"
        );
        let changes = admin
            .ok(Method::GET, "/api/v1/fleets/harbour/changes?limit=1", None)
            .await;
        assert_eq!(changes["changes"][0]["what"], "device.tunnelled");
    }

    async fn each_provisioning_key_has_an_enrolment_tunnel_of_its_own(database: Database) {
        let site = site(database.0).await;
        let (admin, _) = harbour(&site).await;
        let new = json!({"label": "mcu", "max_uses": 2, "expires_at": next_year()});
        let path = "/api/v1/fleets/harbour/provisioning-keys";
        let made = admin.ok(Method::POST, path, Some(new.clone())).await;
        let other = admin.ok(Method::POST, path, Some(new)).await;
        assert_ne!(made["enrolment"]["hub"], other["enrolment"]["hub"]);
        let provisioning = hex::decode(made["secret"].as_str().unwrap()).unwrap();
        let hub = PublicKey(
            hex::decode(made["enrolment"]["hub"].as_str().unwrap())
                .unwrap()
                .try_into()
                .unwrap(),
        );
        let tunnel = open(TunnelConfig {
            keys: KeySet {
                secret: SecretKey::generate(),
                hub,
                preshared: lightship_wireguard::enrolment::preshared_key(&provisioning),
            },
            pending: None,
            hub: made["enrolment"]["endpoint"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
            hub_address: "100.64.0.1".parse().unwrap(),
            address: "100.127.255.254".parse().unwrap(),
            keep_alive: KeepAlive::Learned,
        })
        .await;
        let gadget = Gadget::new(&site, 1);
        let message = gadget.message(made["secret"].as_str().unwrap());
        let mut memory = [0; 512];
        let postcard = lightship_core::wire::encode(&message, &mut memory).unwrap().to_vec();
        let json = serde_json::to_vec(&message).unwrap();
        for (kind, body) in [("application/vnd.lightship.postcard", postcard), ("application/json", json)] {
            let work = async {
                let mut stream = tunnel.dial(80, Buffers::default()).await.unwrap();
                let head = format!("POST /device/v1/register HTTP/1.1\r\nHost: fleet\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.unwrap();
                String::from_utf8_lossy(&answer).into_owned()
            };
            let answer = tokio::time::timeout(PATIENCE, work).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.to_lowercase().contains(&format!("content-type: {kind}\r\n")), "{answer}");
        }
        assert_eq!(
            inside(&tunnel, 80, "/device/v1/target", &gadget.bearer()).await,
            "404",
            "a guest reaches registration alone"
        );
        assert_eq!(gadget.poll("", "", 0).await.0, 304, "and is a device now");
    }

    async fn a_new_tunnel_key_is_shown_once_it_was_used(database: Database) {
        let site = site(database.0).await;
        let (admin, key) = harbour(&site).await;
        let (gadget, tunnel, port, _) = tunnelled(&site, 1, &key).await;
        inside(&tunnel, port, "/device/v1/target", &gadget.bearer()).await;
        let path = format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid);
        let shown = admin.ok(Method::GET, &path, None).await;
        assert!(shown.get("tunnel_key_changed_at").is_none(), "{shown}");
        let told: Value = gadget.register(&key).await.json().await.unwrap();
        let told = &told["registered"]["tunnel"];
        let new = SecretKey::generate();
        let proposed =
            lightship_core::wire::NewKey::WireGuard(lightship_core::id::PublicKey(new.public().0));
        assert_eq!(gadget.propose(proposed).await.status(), 200);
        drop(tunnel);
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        let again = open(TunnelConfig {
            keys: KeySet {
                secret: new,
                hub: PublicKey(hex::decode(text("hub")).unwrap().try_into().unwrap()),
                preshared: PresharedKey::default(),
            },
            pending: None,
            hub: text("endpoint").parse().unwrap(),
            hub_address: text("gateway").parse().unwrap(),
            address: text("address").parse().unwrap(),
            keep_alive: KeepAlive::Learned,
        })
        .await;
        let hub = site.server.as_ref().unwrap().tunnel().unwrap();
        assert_eq!(
            text("endpoint"),
            format!("127.0.0.1:{}", hub.port()),
            "the port that is really open"
        );
        assert_eq!(
            inside(&again, port, "/device/v1/target", &gadget.bearer()).await,
            "304"
        );
        // The hub says which key was used, and that is stored a moment later.
        let changed = async {
            loop {
                let shown = admin.ok(Method::GET, &path, None).await;
                if shown["tunnel_key_changed_at"].is_string() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, changed).await.unwrap();
    }

    async fn devices_are_told_where_the_hub_is_from_outside(database: Database) {
        let site = Site::start_with(database.0, |config| {
            config.tunnel.listen = Some("127.0.0.1:0".parse().unwrap());
            config.tunnel.enrolment = Some("127.0.0.1:0".parse().unwrap());
            config.tunnel.endpoint = Some("hub.example.org:51820".to_owned());
            config.tunnel.enrolment_endpoint = Some("enrol.example.org:51821".to_owned());
        })
        .await;
        let (admin, key) = harbour(&site).await;
        let answer: Value = Gadget::new(&site, 1)
            .register(&key)
            .await
            .json()
            .await
            .unwrap();
        let told = &answer["registered"]["tunnel"]["endpoint"];
        assert_eq!(told, "hub.example.org:51820");
        let new = json!({"label": "mcu", "max_uses": 1, "expires_at": next_year()});
        let path = "/api/v1/fleets/harbour/provisioning-keys";
        let made = admin.ok(Method::POST, path, Some(new)).await;
        assert_eq!(made["enrolment"]["endpoint"], "enrol.example.org:51821");
        let server = site.server.as_ref().unwrap();
        let ports = [server.tunnel().unwrap(), server.enrolment().unwrap()];
        assert!(
            ports
                .iter()
                .all(|at| at.ip().is_loopback() && at.port() != 0)
        );
        let none = Site::start(None).await;
        assert_eq!(none.server.as_ref().unwrap().tunnel(), None);
    }
}
