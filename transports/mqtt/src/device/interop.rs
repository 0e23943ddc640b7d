//! What another implementation makes of our packets, and we of its: rumqttc's, which is the host half's.

extern crate std;

use std::string::ToString;
use std::vec::Vec;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Disconnect, DisconnectProperties,
    DisconnectReasonCode, Filter, Packet as Foreign, PubAck, PubAckProperties, PubAckReason,
    Publish as ForeignPublish, PublishProperties, SubAck, SubAckProperties, SubscribeReasonCode,
};

use super::draft::{Draft, Greeting, Heading};
use super::packet::{Packet, Publish, Terms, decode};
use crate::limits::{RECEIVE_MAXIMUM, WILL_DELAY_S};
use lightship_link::limits::SESSION_EXPIRY_S;

const NAME: &str = "00000000-0000-4000-8000-000000000000";
const TOPIC: &str = "d/00000000-0000-4000-8000-000000000000/up";

/// What they read of what we write.
fn theirs(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Foreign {
    let mut memory = [0; 1000];
    let len = write(&mut memory).unwrap();
    let mut bytes = BytesMut::from(&memory[..len]);
    let read = Foreign::read(&mut bytes, None).unwrap();
    assert!(bytes.is_empty());
    read
}

/// What they write.
fn written(packet: &Foreign) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, None).unwrap();
    bytes.to_vec()
}

fn pairs() -> Vec<(std::string::String, std::string::String)> {
    [("a", "b"), ("", "c")]
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .to_vec()
}

#[test]
fn a_greeting_is_read_as_it_was_meant() {
    for presence in [Some("d/x/presence"), None] {
        let read = theirs(|memory| {
            let greeting = Greeting {
                name: NAME,
                password: "secret",
                presence,
                keep_alive_s: 905,
                packet_bytes: 2304,
            };
            Draft::connect(memory, &greeting).finish()
        });
        let Foreign::Connect(connect, will, login) = read else {
            panic!("{read:?}");
        };
        assert_eq!((connect.keep_alive, &*connect.client_id), (905, NAME));
        assert!(!connect.clean_start);
        let properties = connect.properties.unwrap();
        assert_eq!(properties.session_expiry_interval, Some(SESSION_EXPIRY_S));
        assert_eq!(properties.receive_maximum, Some(RECEIVE_MAXIMUM));
        assert_eq!(properties.max_packet_size, Some(2304));
        assert_eq!(properties.topic_alias_max, None);
        let login = login.unwrap();
        assert_eq!((&*login.username, &*login.password), (NAME, "secret"));
        let Some(topic) = presence else {
            assert_eq!(will, None);
            continue;
        };
        let will = will.unwrap();
        assert_eq!(
            (&will.topic[..], &will.message[..]),
            (topic.as_bytes(), &[0][..])
        );
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
        let delay = will.properties.unwrap().delay_interval;
        assert_eq!(delay, Some(WILL_DELAY_S));
    }
}

#[test]
fn a_subscription_is_read_as_it_was_meant() {
    let read = theirs(|memory| {
        let mut draft = Draft::subscribe(memory, 0x1234);
        draft.filter("d/x/down");
        draft.filter("d/x/target");
        draft.finish()
    });
    let Foreign::Subscribe(subscribe) = read else {
        panic!("{read:?}");
    };
    assert_eq!(subscribe.pkid, 0x1234);
    let expected = ["d/x/down", "d/x/target"].map(|topic| Filter::new(topic, QoS::AtLeastOnce));
    assert_eq!(subscribe.filters, expected);
}

#[test]
fn what_is_published_is_read_as_it_was_meant() {
    for (id, is_retained, reply) in [
        (0, true, None),
        (7, false, None),
        (0xffff, false, Some(("d/x/blob/data", 0x0102_0304))),
    ] {
        for payload in [0, 1, 70, 80, 500] {
            let payload = &[7; 500][..payload];
            let read = theirs(|memory| {
                let heading = Heading {
                    topic: TOPIC,
                    id,
                    is_retained,
                    reply,
                };
                let mut draft = Draft::publish(memory, &heading);
                draft.put(payload);
                draft.finish()
            });
            let Foreign::Publish(publish) = read else {
                panic!("{read:?}");
            };
            let qos = match id {
                0 => QoS::AtMostOnce,
                _ => QoS::AtLeastOnce,
            };
            assert_eq!((publish.qos, publish.pkid), (qos, id));
            assert_eq!((publish.retain, publish.dup), (is_retained, false));
            assert_eq!(
                (&publish.topic[..], &publish.payload[..]),
                (TOPIC.as_bytes(), payload)
            );
            let expected = reply.map(|(topic, correlation)| PublishProperties {
                response_topic: Some(topic.to_string()),
                correlation_data: Some(Bytes::copy_from_slice(&u32::to_be_bytes(correlation))),
                ..PublishProperties::default()
            });
            assert_eq!(publish.properties, expected);
        }
    }
}

#[test]
fn acknowledgements_and_pings_are_read_as_they_were_meant() {
    let read = theirs(|memory| Draft::acknowledge(memory, 0x1234).finish());
    assert_eq!(read, Foreign::PubAck(PubAck::new(0x1234, None)));
    let read = theirs(|memory| Draft::ping(memory).finish());
    assert!(matches!(read, Foreign::PingReq(_)), "{read:?}");
}

#[test]
fn their_welcome_is_understood() {
    let properties = ConnAckProperties {
        session_expiry_interval: Some(3600),
        receive_max: Some(20),
        max_qos: Some(1),
        retain_available: Some(1),
        max_packet_size: Some(70_000),
        assigned_client_identifier: Some("other".to_string()),
        topic_alias_max: Some(10),
        reason_string: Some("welcome".to_string()),
        user_properties: pairs(),
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(1),
        shared_subscription_available: Some(1),
        server_keep_alive: Some(30),
        response_information: Some("r".to_string()),
        server_reference: Some("s".to_string()),
        authentication_method: Some("m".to_string()),
        authentication_data: Some(Bytes::from_static(&[0xff, 0])),
    };
    let terms = |is_resumed, is_full| Terms {
        is_resumed,
        receive_maximum: if is_full { 20 } else { u16::MAX },
        packet_bytes: if is_full { 70_000 } else { u32::MAX },
        keep_alive_s: is_full.then_some(30),
    };
    for session_present in [false, true] {
        for properties in [None, Some(properties.clone())] {
            let expected = terms(session_present, properties.is_some());
            let bytes = written(&Foreign::ConnAck(ConnAck {
                session_present,
                code: ConnectReturnCode::Success,
                properties,
            }));
            assert_eq!(decode(&bytes), Ok(Packet::Welcome(expected)));
        }
    }
    let bytes = written(&Foreign::ConnAck(ConnAck {
        session_present: false,
        code: ConnectReturnCode::NotAuthorized,
        properties: Some(properties),
    }));
    assert_eq!(decode(&bytes), Ok(Packet::Refusal(0x87)));
}

#[test]
fn what_they_publish_is_understood() {
    let properties = PublishProperties {
        payload_format_indicator: Some(0),
        message_expiry_interval: Some(60),
        topic_alias: Some(3),
        response_topic: Some("answers".to_string()),
        correlation_data: Some(Bytes::from_static(&[0xff; 40])),
        user_properties: pairs(),
        subscription_identifiers: std::vec![1, 268_435_455],
        content_type: Some("postcard".to_string()),
    };
    for properties in [None, Some(properties)] {
        for (qos, id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 9)] {
            for payload in [&[][..], &[5; 300]] {
                let mut publish = ForeignPublish::new(TOPIC, qos, payload, properties.clone());
                publish.pkid = id;
                let bytes = written(&Foreign::Publish(publish));
                let topic = TOPIC.as_bytes();
                let expected = Publish { topic, id, payload };
                assert_eq!(decode(&bytes), Ok(Packet::Publish(expected)));
            }
        }
    }
}

#[test]
fn their_answers_are_understood() {
    let reason_string = Some("why".to_string());
    let properties = PubAckProperties {
        reason_string: reason_string.clone(),
        user_properties: pairs(),
    };
    for (foreign, properties, reason) in [
        (PubAckReason::Success, None, 0),
        (PubAckReason::NoMatchingSubscribers, None, 0x10),
        (PubAckReason::NotAuthorized, Some(properties.clone()), 0x87),
        (PubAckReason::Success, Some(properties), 0),
    ] {
        let mut acknowledgement = PubAck::new(7, properties);
        acknowledgement.reason = foreign;
        let bytes = written(&Foreign::PubAck(acknowledgement));
        let expected = Packet::Acknowledgement { id: 7, reason };
        assert_eq!(decode(&bytes), Ok(expected));
    }
    let properties = SubAckProperties {
        reason_string: reason_string.clone(),
        user_properties: pairs(),
    };
    for properties in [None, Some(properties)] {
        let bytes = written(&Foreign::SubAck(SubAck {
            pkid: 7,
            return_codes: std::vec![
                SubscribeReasonCode::Success(QoS::AtLeastOnce),
                SubscribeReasonCode::NotAuthorized,
            ],
            properties,
        }));
        let reasons = &[1, 0x87][..];
        assert_eq!(decode(&bytes), Ok(Packet::Subscribed { id: 7, reasons }));
    }
    let properties = DisconnectProperties {
        session_expiry_interval: None,
        reason_string,
        user_properties: pairs(),
        server_reference: Some("elsewhere".to_string()),
    };
    // Without properties they write one byte more than they announce.
    let mut farewell = Disconnect::new(DisconnectReasonCode::SessionTakenOver);
    farewell.properties = Some(properties);
    let bytes = written(&Foreign::Disconnect(farewell));
    assert_eq!(decode(&bytes), Ok(Packet::Farewell(0x8e)));
}
