//! The broker as devices see it, with a client by other people.

use std::net::SocketAddr;
use std::time::Duration;

use lightship_core::id::{ApiKey, Digest};
use lightship_core::wire::{self, Down, NewKey, Up};
use lightship_link::chunk;
use reqwest::Method;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use serde_json::json;

use crate::gadget::{Gadget, provisioning_key, report};
use crate::publisher::Publisher;
use crate::site::{Database, Person, Site, on_both_databases};

const PATIENCE: Duration = Duration::from_secs(20);

fn connect(site: &Site, client: &str, user: &str, password: &str) -> (AsyncClient, EventLoop) {
    connect_to(site.server.as_ref().unwrap().mqtt(), client, user, password)
}

fn connect_to(
    address: SocketAddr,
    client: &str,
    user: &str,
    password: &str,
) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(client, address.ip().to_string(), address.port());
    options
        .set_credentials(user, password)
        .set_clean_start(true)
        .set_keep_alive(Duration::from_secs(30));
    AsyncClient::new(options, 10)
}

fn device(site: &Site, gadget: &Gadget) -> (AsyncClient, EventLoop) {
    let uuid = gadget.uuid.to_string();
    connect(site, &uuid, &uuid, &hex::encode(gadget.key.0))
}

/// The payload of a device's retained target at a broker, and the connection that it came on.
pub(crate) async fn target(
    broker: SocketAddr,
    gadget: &Gadget,
) -> (Vec<u8>, (AsyncClient, EventLoop)) {
    let uuid = gadget.uuid.to_string();
    let (client, mut events) = connect_to(broker, &uuid, &uuid, &hex::encode(gadget.key.0));
    assert_eq!(connected(&mut events).await, Ok(ConnectReturnCode::Success));
    subscribe(&client, &mut events, &format!("d/{uuid}/target")).await;
    (message(&mut events).await.1, (client, events))
}

/// The first packet that comes in of those that are wanted, or the error that ends the connection.
async fn next<T>(
    events: &mut EventLoop,
    wanted: impl Fn(Packet) -> Option<T>,
) -> Result<T, String> {
    let found = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(packet)) => {
                    if let Some(found) = wanted(packet) {
                        return Ok(found);
                    }
                }
                Ok(Event::Outgoing(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("nothing came")
}

async fn connected(events: &mut EventLoop) -> Result<ConnectReturnCode, String> {
    next(events, |packet| {
        if let Packet::ConnAck(ack) = packet {
            Some(ack.code)
        } else {
            None
        }
    })
    .await
}

async fn subscribe(
    client: &AsyncClient,
    events: &mut EventLoop,
    filter: &str,
) -> SubscribeReasonCode {
    client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    next(events, |packet| {
        if let Packet::SubAck(ack) = packet {
            ack.return_codes.first().copied()
        } else {
            None
        }
    })
    .await
    .unwrap()
}

/// The next message, with its topic.
async fn message(events: &mut EventLoop) -> (String, Vec<u8>) {
    let take = |packet| {
        if let Packet::Publish(publish) = packet {
            Some((
                String::from_utf8(publish.topic.to_vec()).unwrap(),
                publish.payload.to_vec(),
            ))
        } else {
            None
        }
    };
    next(events, take).await.unwrap()
}

async fn say(client: &AsyncClient, gadget: &Gadget, up: &Up) {
    let mut out = [0; 2048];
    let payload = wire::encode(up, &mut out).unwrap().to_vec();
    client
        .publish(
            format!("d/{}/up", gadget.uuid),
            QoS::AtLeastOnce,
            false,
            payload,
        )
        .await
        .unwrap();
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
    async fn a_device_that_comes_late_finds_its_target_and_reports(site: Site) {
        let (admin, key) = harbour(&site).await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        publisher.push(&admin, "1.0.0", b"image one", false).await;
        let (client, mut events) = device(&site, &gadget);
        assert_eq!(connected(&mut events).await, Ok(ConnectReturnCode::Success));
        subscribe(&client, &mut events, &format!("d/{}/target", gadget.uuid)).await;
        let (topic, payload) = message(&mut events).await;
        assert_eq!(topic, format!("d/{}/target", gadget.uuid));
        assert!(matches!(wire::decode_down(&payload), Ok(Down::Target(_))));
        say(&client, &gadget, &Up::Report(report(1, None))).await;
        next(&mut events, |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await.unwrap();
        let shown = admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid), None).await;
        assert_eq!((&shown["state"], &shown["online"]), (&json!("empty"), &json!(true)), "what was acknowledged is stored");
        publisher.push(&admin, "1.1.0", b"image two", false).await;
        let (_, payload) = message(&mut events).await;
        assert!(matches!(wire::decode_down(&payload), Ok(Down::Target(_))), "and the next comes by itself");
    }

    async fn commands_keys_and_blobs_come_over_the_bus(site: Site) {
        let (admin, key) = harbour(&site).await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        publisher.push(&admin, "1.0.0", b"image one", false).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let (client, mut events) = device(&site, &gadget);
        assert_eq!(connected(&mut events).await, Ok(ConnectReturnCode::Success));
        subscribe(&client, &mut events, &format!("d/{}/down", gadget.uuid)).await;
        let order = Some(json!({"command": "identify"}));
        admin.ok(Method::POST, &format!("/api/v1/fleets/harbour/devices/{}/commands", gadget.uuid), order).await;
        let (_, payload) = message(&mut events).await;
        assert!(matches!(wire::decode_down(&payload), Ok(Down::Command(_))));
        let new = Gadget { key: ApiKey([9; 32]), ..gadget.clone() };
        say(&client, &gadget, &Up::ProposeKey(NewKey::Api(new.key))).await;
        // A command may come twice; its number says that it is the same one.
        let accepted = loop {
            let (_, payload) = message(&mut events).await;
            match wire::decode_down(&payload) {
                Ok(Down::Command(command)) if command.id == 1 => {}
                other => break matches!(other, Ok(Down::KeyAccepted(_))),
            }
        };
        assert!(accepted);
        drop((client, events));
        let (client, mut events) = device(&site, &new);
        assert_eq!(connected(&mut events).await, Ok(ConnectReturnCode::Success));
        let (_old, mut refused) = device(&site, &gadget);
        assert!(connected(&mut refused).await.unwrap_err().contains("BadUserNamePassword"));
        subscribe(&client, &mut events, &format!("d/{}/blob/data", gadget.uuid)).await;
        let request = chunk::Request { id: 7, digest: Digest::of(b"image one"), offset: 6, max: 1024 };
        let mut out = [0; chunk::REQUEST_BYTES];
        let payload = chunk::encode(&request, &mut out).unwrap().to_vec();
        client.publish(format!("d/{}/blob/get", gadget.uuid), QoS::AtLeastOnce, false, payload).await.unwrap();
        let (_, payload) = message(&mut events).await;
        let answer: chunk::Answer<'_> = chunk::decode(&payload).unwrap();
        assert_eq!(answer, chunk::Answer { id: 7, piece: chunk::Piece::Bytes(b"one") });
    }

    async fn no_topic_opens_to_a_wrong_credential(site: Site) {
        let (_, key) = harbour(&site).await;
        let (one, two) = (Gadget::registered(&site, 1, &key).await, Gadget::registered(&site, 2, &key).await);
        let (me, other) = (one.uuid.to_string(), two.uuid.to_string());
        let (my_key, other_key) = (hex::encode(one.key.0), hex::encode(two.key.0));
        let wrong = [
            (me.as_str(), me.as_str(), other_key.as_str()),
            (other.as_str(), me.as_str(), my_key.as_str()),
            (me.as_str(), other.as_str(), my_key.as_str()),
            ("anonymous", "", ""),
            (me.as_str(), me.as_str(), ""),
            (me.as_str(), me.as_str(), key.as_str()),
            ("admin", "admin", crate::site::PASSWORD),
        ];
        for (client, user, password) in wrong {
            let (_client, mut events) = connect(&site, client, user, password);
            assert!(connected(&mut events).await.is_err(), "{client} as {user}");
        }
        let (client, mut events) = device(&site, &one);
        assert_eq!(connected(&mut events).await, Ok(ConnectReturnCode::Success));
        let filters = ["#", "+/+/target", "d/#", "$SYS/#", "d/+/target"].map(str::to_owned);
        let foreign = ["target", "down", "up", "presence", "blob/data"].map(|last| format!("d/{other}/{last}"));
        let own = ["up", "presence", "#", "+"].map(|last| format!("d/{me}/{last}"));
        for filter in filters.iter().chain(&foreign).chain(&own) {
            let code = subscribe(&client, &mut events, filter).await;
            assert!(!matches!(code, SubscribeReasonCode::Success(_)), "{filter}: {code:?}");
        }
        let (victim, mut heard) = device(&site, &two);
        assert_eq!(connected(&mut heard).await, Ok(ConnectReturnCode::Success));
        subscribe(&victim, &mut heard, &format!("d/{other}/down")).await;
        subscribe(&victim, &mut heard, &format!("d/{other}/target")).await;
        for last in ["down", "target", "up"] {
            client.publish(format!("d/{other}/{last}"), QoS::AtLeastOnce, true, "evil").await.unwrap();
            client.publish(format!("d/{me}/{last}"), QoS::AtLeastOnce, true, "evil").await.unwrap();
        }
        // The attacker's own connection may be closed for it; the victim hears what the fleet says, and that alone.
        let _ = tokio::time::timeout(Duration::from_millis(500), async { while events.poll().await.is_ok() {} }).await;
        say(&victim, &two, &Up::ProposeKey(NewKey::Api(ApiKey([5; 32])))).await;
        let (topic, payload) = message(&mut heard).await;
        assert_eq!(topic, format!("d/{other}/down"));
        assert!(matches!(wire::decode_down(&payload), Ok(Down::KeyAccepted(_))), "{payload:?}");
    }

    async fn wrong_keys_of_one_device_keep_no_other_out(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.failures_per_minute = 2).await;
        let (_, key) = harbour(&site).await;
        let (one, two) = (Gadget::registered(&site, 1, &key).await, Gadget::registered(&site, 2, &key).await);
        let wrong = Gadget { key: ApiKey([9; 32]), ..one };
        for _ in 0..5 {
            let (_client, mut events) = device(&site, &wrong);
            assert!(connected(&mut events).await.unwrap_err().contains("BadUserNamePassword"));
        }
        let (_client, mut events) = device(&site, &two);
        assert_eq!(connected(&mut events).await, Ok(ConnectReturnCode::Success));
    }

    async fn who_says_nothing_over_tls_keeps_no_device_waiting(database: Database) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let site = Site::start_with(database.0, |config| config.mqtt.tls_listen = Some(free)).await;
        let (_, key) = harbour(&site).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let mut silent = Vec::new();
        for _ in 0..9 {
            silent.push(tokio::net::TcpStream::connect(free).await.unwrap());
        }
        let uuid = gadget.uuid.to_string();
        let mut options = MqttOptions::new(&uuid, "localhost", free.port());
        options.set_credentials(&uuid, hex::encode(gadget.key.0));
        options.set_transport(tls(site.server.as_ref().unwrap().authority_pem()));
        let (_client, mut events) = AsyncClient::new(options, 10);
        assert_eq!(connected(&mut events).await, Ok(ConnectReturnCode::Success));
        drop(silent);
    }
}

/// TLS that believes this authority.
fn tls(authority: &str) -> Transport {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    Transport::tls_with_config(TlsConfiguration::Rustls(std::sync::Arc::new(
        config.with_no_client_auth(),
    )))
}
