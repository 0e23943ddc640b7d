//! Who is believed to be the fleet.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod fleet;

use fleet::Fleet;
use fleet::device::device;
use fleet::tls::acceptor;
use lightship_https::host::Config;
use lightship_link::suite::certificate::{Authority, Identity};
use lightship_link::suite::{FarEnd, credentials, run, soon};
use lightship_link::{Event, Failure, Known, Link};

/// Connects to a server with this identity and returns what happened and how many requests the server saw.
async fn meet(identity: &Identity, authority: &Authority, protocols: &[&[u8]]) -> (String, u32) {
    let (mut far, server) = Fleet::start(Some(acceptor(identity, protocols))).await;
    far.admit(&credentials(1)).await;
    let url = format!("https://localhost:{}", server.port());
    let config = Config::new(&url, authority.pem().as_bytes()).unwrap();
    let (mut link, _reader, _logs) = device(config);
    link.connect(&credentials(1), Known::default());
    let event = soon("an event", link.next()).await;
    let asked = far.book.lock().unwrap().asked;
    (format!("{event:?}"), asked)
}

fn untrusted() -> (String, u32) {
    (format!("{:?}", Event::Down(Failure::Untrusted)), 0)
}

#[test]
fn a_certificate_of_the_configured_authority_is_believed_over_http_1_and_2() {
    run(async {
        let authority = Authority::new();
        let identity = authority.issue("localhost", 2100);
        let up = format!("{:?}", Event::Up { resumed: false });
        for protocols in [&[&b"h2"[..]][..], &[b"http/1.1"], &[]] {
            assert_eq!(meet(&identity, &authority, protocols).await.0, up);
        }
    });
}

#[test]
fn a_certificate_of_another_authority_is_not() {
    run(async {
        let identity = Authority::new().issue("localhost", 2100);
        assert_eq!(meet(&identity, &Authority::new(), &[]).await, untrusted());
    });
}

#[test]
fn an_expired_certificate_is_not() {
    run(async {
        let authority = Authority::new();
        let identity = authority.issue("localhost", 2010);
        assert_eq!(meet(&identity, &authority, &[]).await, untrusted());
    });
}

#[test]
fn a_self_signed_certificate_is_not() {
    run(async {
        let identity = Identity::self_signed("localhost");
        assert_eq!(meet(&identity, &Authority::new(), &[]).await, untrusted());
    });
}

#[test]
fn a_certificate_for_another_name_is_not() {
    run(async {
        let authority = Authority::new();
        let identity = authority.issue("fleet.example", 2100);
        assert_eq!(meet(&identity, &authority, &[]).await, untrusted());
    });
}

#[test]
fn a_server_without_tls_is_misconduct_and_sees_no_token() {
    run(async {
        let (far, server) = Fleet::start(None).await;
        let url = format!("https://localhost:{}", server.port());
        let config = Config::new(&url, Authority::new().pem().as_bytes()).unwrap();
        let (mut link, _reader, _logs) = device(config);
        link.connect(&credentials(1), Known::default());
        let event = soon("an event", link.next()).await;
        assert!(
            matches!(
                event,
                Event::Down(Failure::Misbehaved(_) | Failure::Unreachable(_))
            ),
            "{event:?}"
        );
        assert_eq!(far.book.lock().unwrap().asked, 0);
    });
}
