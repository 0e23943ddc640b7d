//! The suite of lightship-link: a host over plain HTTP/1.1 and over TLS with HTTP/2, a microcontroller over HTTP/1.1.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod fleet;

use fleet::Fleet;
use fleet::device::{Link, device};
use fleet::tls::acceptor;
use lightship_core::wire::json;
use lightship_https::host::{Config, Reader};
use lightship_link::suite::certificate::Authority;
use lightship_link::suite::{Rig, Subject};

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

mod plain {
    use super::*;

    struct Plain;

    impl Subject for Plain {
        type Link = Link;
        type Blobs = Reader;
        type Far = Fleet;

        async fn start() -> Option<Rig<Self>> {
            let (far, server) = Fleet::start(None).await;
            let (way, address) = fleet::way(server).await;
            let config = Config::new(&format!("http://{address}"), b"").unwrap();
            let (link, blobs, _) = device(config);
            Some(Rig {
                link,
                blobs,
                far,
                way,
            })
        }

        fn rubbish() -> Vec<Vec<u8>> {
            super::rubbish()
        }
    }

    lightship_link::conformance!(Plain);
}

mod tls {
    use super::*;

    struct Tls;

    impl Subject for Tls {
        type Link = Link;
        type Blobs = Reader;
        type Far = Fleet;

        const CUTS: u64 = 60;

        async fn start() -> Option<Rig<Self>> {
            let authority = Authority::new();
            let identity = authority.issue("localhost", 2100);
            let acceptor = acceptor(&identity, &[b"h2", b"http/1.1"]);
            let (far, server) = Fleet::start(Some(acceptor)).await;
            let (way, address) = fleet::way(server).await;
            let url = format!("https://localhost:{}", address.port());
            let config = Config::new(&url, authority.pem().as_bytes()).unwrap();
            let (link, blobs, _) = device(config);
            Some(Rig {
                link,
                blobs,
                far,
                way,
            })
        }

        fn rubbish() -> Vec<Vec<u8>> {
            super::rubbish()
        }
    }

    lightship_link::conformance!(Tls);
}

mod device {
    use super::*;
    use fleet::microcontroller::{Blobs, Link, microcontroller};

    struct Device;

    impl Subject for Device {
        type Link = Link;
        type Blobs = Blobs;
        type Far = Fleet;

        async fn start() -> Option<Rig<Self>> {
            let (far, server) = Fleet::start(None).await;
            let (way, address) = fleet::way(server).await;
            let (link, blobs, _) = microcontroller(address);
            Some(Rig {
                link,
                blobs,
                far,
                way,
            })
        }

        fn rubbish() -> Vec<Vec<u8>> {
            super::rubbish()
        }
    }

    lightship_link::conformance!(Device);
}
