//! Who is believed to be the broker: mosquitto with TLS, and certificates that are good or bad.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod broker;
mod device;

use std::net::SocketAddr;

use broker::Broker;
use broker::fleet::{Fleet, login};
use device::device;
use lightship_link::suite::certificate::{Authority, Identity};
use lightship_link::suite::{FarEnd, credentials, report, run, soon};
use lightship_link::{Event, Failure, Known, Link, Misconduct, Unreachable};
use lightship_mqtt::host::{Config, ConfigError};

fn config(broker: SocketAddr, authority: &Authority) -> Config {
    let config = Config::new("localhost", broker.port());
    config.with_tls(authority.pem().as_bytes()).unwrap()
}

/// What a device that believes `authority` makes of a broker with this identity; nothing when there is no broker to be had.
async fn meet(identity: &Identity, authority: &Authority) -> Option<String> {
    let mut fleet = Fleet::start(Broker::start_tls(identity).await?).await;
    fleet.admit(&credentials(1)).await;
    let tls = fleet.broker.tls.unwrap();
    let (mut link, _) = device(config(tls, authority));
    link.connect(&credentials(1), Known::default());
    let event = soon("an event", link.next()).await;
    Some(format!("{event:?}"))
}

fn is_untrusted(met: Option<String>) {
    let untrusted = format!("{:?}", Event::Down(Failure::Untrusted));
    // Without mosquitto there is nothing to be said, and that was said.
    assert!(met.is_none_or(|met| met == untrusted));
}

#[test]
fn a_certificate_of_the_configured_authority_is_believed() {
    run(async {
        let authority = Authority::new();
        let identity = authority.issue("localhost", 2100);
        let Some(broker) = Broker::start_tls(&identity).await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _) = device(config(fleet.broker.tls.unwrap(), &authority));
        link.connect(&credentials(1), Known::default());
        assert!(matches!(soon("up", link.next()).await, Event::Up { .. }));
        link.send(report(1)).unwrap();
        assert_eq!(soon("an outcome", link.next()).await, Event::Sent);
        link.connect(&credentials(2), Known::default());
        let event = soon("a refusal", link.next()).await;
        let is_refused = matches!(event, Event::Down(Failure::Refused { .. }));
        assert!(
            is_refused,
            "a good certificate is no good password: {event:?}"
        );
    });
}

#[test]
fn a_certificate_of_another_authority_is_not() {
    run(async {
        let identity = Authority::new().issue("localhost", 2100);
        is_untrusted(meet(&identity, &Authority::new()).await);
    });
}

#[test]
fn an_expired_certificate_is_not() {
    run(async {
        let authority = Authority::new();
        let identity = authority.issue("localhost", 2010);
        is_untrusted(meet(&identity, &authority).await);
    });
}

#[test]
fn a_self_signed_certificate_is_not() {
    run(async {
        let identity = Identity::self_signed("localhost");
        is_untrusted(meet(&identity, &Authority::new()).await);
    });
}

#[test]
fn a_certificate_for_another_name_is_not() {
    run(async {
        let authority = Authority::new();
        let identity = authority.issue("broker.example", 2100);
        is_untrusted(meet(&identity, &authority).await);
    });
}

#[test]
fn a_broker_without_tls_sees_no_password() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = tokio::task::spawn_local(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 4096];
            let len = stream.read(&mut seen).await.unwrap();
            // As a broker would that takes everybody.
            let _ = stream.write_all(&[0x20, 3, 0, 0, 0]).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            seen.truncate(len);
            seen.extend(rest);
            seen
        });
        let (mut link, _) = device(config(address, &Authority::new()));
        link.connect(&credentials(1), Known::default());
        let event = soon("an event", link.next()).await;
        let is_named = matches!(
            event,
            Event::Down(
                Failure::Misbehaved(Misconduct::Garbage)
                    | Failure::Unreachable(Unreachable::Connect | Unreachable::Broken)
            )
        );
        assert!(is_named, "{event:?}");
        let seen = soon("what was seen", seen).await.unwrap();
        let (_, password) = login(&credentials(1));
        let shows = |seen: &[u8]| {
            seen.windows(16)
                .any(|window| window == &password.as_bytes()[..16])
        };
        assert!(!shows(&seen), "the password was sent in the clear");
    });
}

#[test]
fn an_authority_that_is_none_is_refused_when_it_is_configured() {
    let config = || Config::new("localhost", 8883);
    assert!(matches!(
        config().with_tls(b""),
        Err(ConfigError::NoAuthority)
    ));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        config().with_tls(broken),
        Err(ConfigError::Authority(_))
    ));
}
