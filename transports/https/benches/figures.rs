//! `cargo xtask bench transports`: what HTTP costs in bytes: a host over TLS with HTTP/2, and a microcontroller inside the tunnel, without TLS.
//!
//! Requests that are held are counted at a wait of 1 s, and an hour is so many of them as the default has.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

#[path = "../tests/fleet/mod.rs"]
mod fleet;

use fleet::Fleet;
use fleet::device::device;
use fleet::microcontroller::microcontroller;
use fleet::tls::acceptor;
use lightship_https::host::{Config, Reader};
use lightship_link::suite::certificate::Authority;
use lightship_link::suite::figures::{Plan, Registering, rows};
use lightship_link::suite::{Rig, Subject, run};

/// A request is held for four minutes.
const ASKED_PER_HOUR: f64 = 15.0;

struct Host;
struct Microcontroller;

impl Subject for Host {
    type Link = fleet::device::Link;
    type Blobs = Reader;
    type Far = Fleet;

    async fn start() -> Option<Rig<Self>> {
        let authority = Authority::new();
        let identity = authority.issue("localhost", 2100);
        let acceptor = acceptor(&identity, &[b"h2", b"http/1.1"]);
        let (far, server) = Fleet::start(Some(acceptor)).await;
        let (way, address) = fleet::way(server).await;
        let url = format!("https://localhost:{}", address.port());
        let (link, blobs, _) = device(Config::new(&url, authority.pem().as_bytes()).unwrap());
        Some(Rig {
            link,
            blobs,
            far,
            way,
        })
    }

    fn rubbish() -> Vec<Vec<u8>> {
        Vec::new()
    }
}

impl Subject for Microcontroller {
    type Link = fleet::microcontroller::Link;
    type Blobs = fleet::microcontroller::Blobs;
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
        Vec::new()
    }
}

fn main() {
    let plan = |name| Plan {
        name,
        signs_per_hour: ASKED_PER_HOUR,
        registering: Registering::Answered,
        target_budget: None,
        idle_month: None,
    };
    run(async {
        let mut all = rows::<Host>(&plan("HTTPS")).await;
        all.extend(rows::<Microcontroller>(&plan("HTTP in the tunnel, microcontroller")).await);
        all.iter().for_each(|row| println!("{row}"));
    });
}
