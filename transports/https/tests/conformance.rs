//! The suite of lightship-link: a host over plain HTTP/1.1 and over TLS with HTTP/2, a microcontroller over HTTP/1.1.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod fleet;

use fleet::Fleet;
use fleet::device::{Link, device};
use fleet::microcontroller;
use fleet::tls::acceptor;
use lightship_core::wire::json;
use lightship_https::host::{Config, Reader};
use lightship_link::suite::certificate::Authority;
use lightship_link::suite::{Rig, Subject, Way};

fn rubbish() -> Vec<Vec<u8>> {
    let nested = format!("{{\"command\":{{\"id\":1,\"x\":{}", "[".repeat(5000));
    let texts = [
        "",
        "{",
        "<html>",
        r#"{"command":{"id":1,"order":"burn"}}"#,
        r#"{"command":{"id":1,"id":2,"order":"report"}}"#,
        r#"{"command":{"id":1,"order":{"restart":"w\u0065b"}}}"#,
        r#"{"target":{"assignment":"!!!!","release":""}}"#,
        r#"{"root":{"document":""}} and more"#,
        &nested,
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.push(vec![b' '; json::TEXT_BYTES + 1]);
    all.push(vec![0xff; 100]);
    all
}

/// Makes a module with the suite for one way to start; without `CUTS` a conversation is cut at each of its bytes.
macro_rules! suite_of {
    ($name:ident, $link:ty, $blobs:ty, $start:expr $(, cuts: $cuts:expr)?) => {
        mod $name {
            use super::*;

            struct Tested;

            impl Subject for Tested {
                type Link = $link;
                type Blobs = $blobs;
                type Far = Fleet;

                $(const CUTS: u64 = $cuts;)?

                async fn start() -> Option<Rig<Self>> {
                    let (link, blobs, far, way) = $start.await;
                    Some(Rig { link, blobs, far, way })
                }

                fn rubbish() -> Vec<Vec<u8>> {
                    super::rubbish()
                }
            }

            lightship_link::conformance!(Tested);
        }
    };
}

suite_of!(plain, Link, Reader, over_plain_http());
suite_of!(tls, Link, Reader, over_tls(), cuts: 400);
suite_of!(
    device,
    microcontroller::Link,
    microcontroller::Blobs,
    of_a_microcontroller()
);

async fn over_plain_http() -> (Link, Reader, Fleet, Way) {
    let (far, server) = Fleet::start(None).await;
    let (way, address) = fleet::way(server).await;
    let config = Config::new(&format!("http://{address}"), b"").unwrap();
    let (link, blobs, _) = device(config);
    (link, blobs, far, way)
}

async fn over_tls() -> (Link, Reader, Fleet, Way) {
    let authority = Authority::new();
    let identity = authority.issue("localhost", 2100);
    let acceptor = acceptor(&identity, &[b"h2", b"http/1.1"]);
    let (far, server) = Fleet::start(Some(acceptor)).await;
    let (way, address) = fleet::way(server).await;
    let url = format!("https://localhost:{}", address.port());
    let config = Config::new(&url, authority.pem().as_bytes()).unwrap();
    let (link, blobs, _) = device(config);
    (link, blobs, far, way)
}

async fn of_a_microcontroller() -> (microcontroller::Link, microcontroller::Blobs, Fleet, Way) {
    let (far, server) = Fleet::start(None).await;
    let (way, address) = fleet::way(server).await;
    let (link, blobs, _) = microcontroller::microcontroller(address);
    (link, blobs, far, way)
}
