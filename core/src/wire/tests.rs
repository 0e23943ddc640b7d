extern crate std;

use super::*;
use crate::id::{Digest, Version};
use crate::limits::JSON_DEPTH;
use crate::trust::Offence;
use heapless::Vec;
use std::vec;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn ups() -> [Up; 4] {
    let mut components = Vec::new();
    components
        .push(ComponentReport {
            name: name("web"),
            artifact: Digest([3; 32]),
            state: ComponentState::Fetching,
            fetched: Some(70_000),
        })
        .unwrap();
    [
        Up::Register(Register {
            uuid: Uuid::from_random([1; 16]),
            provisioning_key: ProvisioningKey([2; 32]),
            api_key: ApiKey([3; 32]),
            wireguard: PublicKey([4; 32]),
            device_type: name("raspberrypi4"),
            name: Some(name("kitchen")),
        }),
        Up::Report(Report {
            sequence: 4,
            boot: 2,
            counter: u64::MAX,
            root: 1,
            committed: Some(Digest([1; 32])),
            version: Some(Version::new("1.2.3").unwrap()),
            trial: Some(TrialReport {
                release: Digest([2; 32]),
                phase: Phase::Trying,
            }),
            rejected: Some(RejectedReport {
                release: Digest([9; 32]),
                reason: Reason::Unhealthy,
            }),
            offence: Some(Offence::Components(
                crate::target::Malformation::DuplicateName,
            )),
            frozen: false,
            unsaved: false,
            components,
        }),
        Up::ProposeKey(NewKey::Api(ApiKey([5; 32]))),
        Up::ProposeKey(NewKey::WireGuard(PublicKey([6; 32]))),
    ]
}

fn tunnel() -> Tunnel {
    Tunnel {
        hub: PublicKey([1; 32]),
        endpoint: Endpoint::new("[2001:db8::1]:51820").unwrap(),
        address: Ipv4Addr::new(100, 64, 0, 9),
        gateway: Ipv4Addr::new(100, 64, 0, 1),
        preshared: None,
        mqtt_port: 1883,
        http_port: 80,
    }
}

fn downs() -> std::vec::Vec<Down<'static>> {
    vec![
        Down::Registered(Registered {
            uuid: Uuid::from_random([1; 16]),
            tunnel: Some(tunnel()),
        }),
        Down::Refused(Refused {
            reason: Refusal::Busy,
            retry_after_s: Some(30),
        }),
        Down::Target(SignedTarget {
            assignment: Blob::Raw(&[1; 100]),
            release: Blob::Raw(&[2; 101]),
        }),
        Down::Root(SignedRoot {
            document: Blob::Raw(&[0xff; 5]),
        }),
        Down::KeyAccepted(KeyAccepted {
            kind: KeyKind::WireGuard,
            id: KeyId([7; 8]),
        }),
        Down::Command(Command {
            id: 7,
            order: Order::Restart(name("web")),
        }),
        Down::Command(Command {
            id: 8,
            order: Order::Reboot,
        }),
        Down::Tunnel(tunnel()),
        Down::Tunnel(Tunnel {
            hub: PublicKey([8; 32]),
            preshared: Some(PresharedKey([9; 32])),
            ..tunnel()
        }),
    ]
}

#[test]
fn every_message_reads_back_from_postcard() {
    let mut out = [0; 1024];
    for up in ups() {
        assert_eq!(decode_up(encode(&up, &mut out).unwrap()), Ok(up));
    }
    for down in downs() {
        assert_eq!(decode_down(encode(&down, &mut out).unwrap()), Ok(down));
    }
}

#[test]
fn every_message_reads_back_from_json() {
    let mut out = [0; 2048];
    for up in ups() {
        let text = json::encode(&up, &mut out).unwrap();
        assert_eq!(json::decode_up(text.as_bytes()), Ok(up), "{text}");
    }
    for down in downs() {
        let text = json::encode(&down, &mut out).unwrap();
        let mut scratch = [0; 1024];
        assert_eq!(
            json::decode_down(text.as_bytes(), &mut scratch),
            Ok(down),
            "{text}"
        );
    }
}

#[test]
fn json_is_what_a_person_would_write() {
    let mut out = [0; 2048];
    let text = json::encode(&downs()[5], &mut out).unwrap();
    assert_eq!(text, r#"{"command":{"id":7,"order":{"restart":"web"}}}"#);
    let text = json::encode(&downs()[3], &mut out).unwrap();
    assert_eq!(text, r#"{"root":{"document":"//////8="}}"#);
    let text = json::encode(&downs()[7], &mut out).unwrap();
    let hub = "01".repeat(32);
    assert_eq!(
        text,
        std::format!(
            r#"{{"tunnel":{{"hub":"{hub}","endpoint":"[2001:db8::1]:51820","address":"100.64.0.9","gateway":"100.64.0.1","preshared":null,"mqtt_port":1883,"http_port":80}}}}"#
        )
    );
}

#[test]
fn what_is_not_a_message_is_rejected_by_name() {
    let mut out = [0; 1024];
    let mut good = encode(&ups()[2], &mut out).unwrap().to_vec();
    assert_eq!(decode_up(&[]), Err(Rejection::Empty));
    assert_eq!(decode_up(&[9, 0]), Err(Rejection::UnknownVersion));
    assert_eq!(
        decode_up(&good[..good.len() - 1]),
        Err(Rejection::Undecodable)
    );
    good.push(0);
    assert_eq!(decode_up(&good), Err(Rejection::TrailingBytes));
    assert_eq!(
        decode_up(&vec![VERSION; MESSAGE_BYTES + 1]),
        Err(Rejection::TooLarge)
    );
    for text in ["", "{", "{}", "[]", r#"{"report":{}}"#, r#"{"x":1}"#] {
        assert!(json::decode_up(text.as_bytes()).is_err(), "{text}");
    }
    let deep = "[".repeat(10_000);
    assert_eq!(json::decode_up(deep.as_bytes()), Err(Rejection::TooDeep));
    let twice = r#"{"root":{"document":"","document":"AA=="}}"#;
    assert_eq!(
        json::decode_down(twice.as_bytes(), &mut []),
        Err(Rejection::Undecodable)
    );
    let escaped = r#"{"command":{"id":1,"order":{"restart":"w\u0065b"}}}"#;
    assert_eq!(
        json::decode_down(escaped.as_bytes(), &mut []),
        Err(Rejection::Undecodable)
    );
}

/// What is not known is skipped by recursion, so its depth is bounded before that.
#[test]
fn json_may_hold_what_is_not_known_but_not_nested_without_end() {
    let message = |unknown: &str| {
        std::format!(r#"{{"command":{{"id":7,"new":{unknown},"order":"reboot"}}}}"#)
    };
    let nested = |depth| message(&("[".repeat(depth) + &"]".repeat(depth)));
    let reboot = Ok(Down::Command(Command {
        id: 7,
        order: Order::Reboot,
    }));
    let decode = |text: &str| json::decode_down(text.as_bytes(), &mut []).map(|_| ());
    for harmless in [
        nested(JSON_DEPTH - 2),
        message(r#""[[[[[[[[[[\"[[[[{{{{\\""#),
    ] {
        assert_eq!(
            json::decode_down(harmless.as_bytes(), &mut []),
            reboot,
            "{harmless}"
        );
    }
    for deep in [nested(JSON_DEPTH - 1), nested(4_000)] {
        assert_eq!(decode(&deep), Err(Rejection::TooDeep));
    }
    let mixed = message(&r#"{"a":[{"b":"#.repeat(1_000));
    assert_eq!(decode(&mixed), Err(Rejection::TooDeep));
}
