//! `cargo xtask bench transports`: what MQTT costs in bytes, on a host and on a microcontroller, through mosquitto.
//!
//! Signs of life are counted at a keep-alive of 5 s, and an hour is so many of them as the default has.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

#[path = "../tests/broker/mod.rs"]
mod broker;
#[path = "../tests/device/mod.rs"]
mod device;

use broker::Broker;
use broker::fleet::Fleet;
use device::{Blobs, Half, Host, Link, Microcontroller};
use lightship_link::suite::figures::{Plan, Registering, rows};
use lightship_link::suite::{Rig, Subject, Way, run};

/// The default: a megabyte a month in the tunnel.
const KEEP_ALIVE_S: u16 = lightship_mqtt::keep_alive_s(1_000_000, TUNNEL_BYTES);
/// What a packet costs in a WireGuard tunnel over IPv4.
const TUNNEL_BYTES: u16 = 75;
/// A ping, its answer and the acknowledgement of that, each with 40 bytes of TCP and IP.
const AROUND_A_PING: u32 = 3 * (40 + TUNNEL_BYTES as u32);

struct Client<H>(H);

impl<H: Half> Subject for Client<H> {
    type Link = Link;
    type Blobs = Blobs;
    type Far = Fleet;

    async fn start() -> Option<Rig<Self>> {
        let far = Fleet::start(Broker::start("").await?).await;
        let (way, address) = Way::tcp(far.broker.address).await.unwrap();
        let (link, blobs) = H::start(address);
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
    let plan = |name, idle_month| Plan {
        name,
        signs_per_hour: 3600.0 / f64::from(KEEP_ALIVE_S),
        registering: Registering::Told,
        target_budget: Some(400),
        idle_month,
    };
    let month = Some((AROUND_A_PING, 1_000_000));
    run(async {
        let mut all = rows::<Client<Host>>(&plan("MQTT", month)).await;
        all.extend(rows::<Client<Microcontroller>>(&plan("MQTT, microcontroller", month)).await);
        all.iter().for_each(|row| println!("{row}"));
    });
}
