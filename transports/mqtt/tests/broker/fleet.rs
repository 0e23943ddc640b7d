//! A fleet behind the broker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use lightship_core::id::Digest;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::{self, Down, Up};
use lightship_link::chunk::{self, Answer, Piece, Request};
use lightship_link::limits::CHUNK_BYTES;
use lightship_link::suite::{FarEnd, credentials, soon};
use lightship_link::{Credentials, Secret};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

use super::{Broker, FLEET};

/// What the fleet knows and has heard.
#[derive(Default)]
pub(crate) struct Book {
    heard: Vec<Up>,
    blobs: HashMap<Digest, Vec<u8>>,
    acknowledged: u64,
    subscribed: u64,
    /// The last presence of each device.
    pub(crate) presence: HashMap<String, Vec<u8>>,
}

/// A fleet's server, as far as messages go.
pub(crate) struct Fleet {
    pub(crate) broker: Broker,
    pub(crate) book: Rc<RefCell<Book>>,
    client: AsyncClient,
    published: u64,
}

/// User name and password of a device.
pub(crate) fn login(credentials: &Credentials) -> (String, String) {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let password = match &credentials.secret {
        Secret::Api(key) => hex(&key.0),
        Secret::Provisioning(key) => format!("enrol:{}", hex(&key.0)),
    };
    (credentials.uuid.to_text().as_str().into(), password)
}

impl Fleet {
    pub(crate) async fn start(broker: Broker) -> Self {
        let mut options = MqttOptions::new("fleet", "127.0.0.1", broker.address.port());
        options
            .set_credentials(FLEET, broker.password.as_str())
            .set_clean_start(false)
            .set_session_expiry_interval(Some(3600))
            .set_max_packet_size(Some(1 << 20));
        let (client, mut event_loop) = AsyncClient::new(options, 100);
        let book: Rc<RefCell<Book>> = Rc::default();
        let (clerk, desk) = (book.clone(), client.clone());
        tokio::task::spawn_local(async move {
            loop {
                match event_loop.poll().await {
                    Ok(event) => handle(&clerk, &desk, event).await,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        for topic in ["d/+/up", "d/+/blob/get", "d/+/presence"] {
            client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
        }
        let fleet = Self {
            broker,
            book,
            client,
            published: 0,
        };
        soon("the fleet's subscriptions", async {
            while fleet.book.borrow().subscribed < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        fleet
    }

    /// Publishes and waits until the broker has it.
    pub(crate) async fn publish(&mut self, topic: &str, retain: bool, payload: &[u8]) {
        self.published += 1;
        let sent = self
            .client
            .publish(topic, QoS::AtLeastOnce, retain, payload.to_vec());
        sent.await.unwrap();
        soon("the broker has it", async {
            while self.book.borrow().acknowledged < self.published {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

async fn handle(book: &RefCell<Book>, client: &AsyncClient, event: Event) {
    match event {
        Event::Incoming(Packet::Publish(publish)) => {
            let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
            match topic.rsplit('/').next() {
                Some("up") => {
                    let up = wire::decode_up(&publish.payload).unwrap();
                    book.borrow_mut().heard.push(up);
                }
                Some("presence") => {
                    book.borrow_mut()
                        .presence
                        .insert(topic, publish.payload.to_vec());
                }
                _ => answer(book, client, &publish),
            }
        }
        Event::Incoming(Packet::PubAck(_)) => book.borrow_mut().acknowledged += 1,
        Event::Incoming(Packet::SubAck(_)) => book.borrow_mut().subscribed += 1,
        _ => {}
    }
}

/// Answers a question for a piece, where and as it asks.
fn answer(book: &RefCell<Book>, client: &AsyncClient, publish: &Publish) {
    let request: Request = chunk::decode(&publish.payload).unwrap();
    let asked = publish.properties.clone().unwrap();
    let book = book.borrow();
    let piece = match book.blobs.get(&request.digest) {
        Some(blob) => {
            let from = (request.offset as usize).min(blob.len());
            let len = (request.max as usize)
                .min(CHUNK_BYTES)
                .min(blob.len() - from);
            Piece::Bytes(&blob[from..from + len])
        }
        None => Piece::Absent,
    };
    let mut out = [0; chunk::ANSWER_BYTES];
    let answer = Answer {
        id: request.id,
        piece,
    };
    let bytes = chunk::encode(&answer, &mut out).unwrap().to_vec();
    let properties = PublishProperties {
        correlation_data: asked.correlation_data,
        ..PublishProperties::default()
    };
    let topic = asked.response_topic.unwrap();
    // Not acknowledged to anybody: the device asks again.
    client
        .try_publish_with_properties(topic, QoS::AtMostOnce, false, bytes, properties)
        .unwrap();
}

impl FarEnd for Fleet {
    async fn admit(&mut self, credentials: &Credentials) {
        let (user, password) = login(credentials);
        self.broker.admit(&user, &password).await;
    }

    async fn expel(&mut self, credentials: &Credentials) {
        let (user, password) = login(credentials);
        self.broker.expel(&user, &password).await;
    }

    async fn say(&mut self, message: &Down<'_>, _counter: u64) {
        let mut out = vec![0; MESSAGE_BYTES];
        let bytes = wire::encode(message, &mut out).unwrap().to_vec();
        let is_target = matches!(message, Down::Target(_));
        let topic = format!(
            "d/{}/{}",
            credentials(1).uuid,
            if is_target { "target" } else { "down" }
        );
        self.publish(&topic, is_target, &bytes).await;
    }

    async fn say_raw(&mut self, bytes: &[u8]) {
        let topic = format!("d/{}/down", credentials(1).uuid);
        self.publish(&topic, false, bytes).await;
    }

    async fn heard(&mut self) -> Vec<Up> {
        std::mem::take(&mut self.book.borrow_mut().heard)
    }

    async fn keep(&mut self, blob: Vec<u8>) -> Digest {
        let digest = Digest::of(&blob);
        self.book.borrow_mut().blobs.insert(digest, blob);
        digest
    }
}
