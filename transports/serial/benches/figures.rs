//! `cargo xtask bench transports`: what the protocol on a line costs in bytes.
//!
//! Signs of life are counted at one in 250 ms, and an hour is so many of them as the default has.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]

#[path = "../tests/rig/mod.rs"]
mod rig;

use embedded_io_adapters::tokio_1::FromTokio;
use lightship_link::suite::figures::{Plan, Registering, rows};
use lightship_link::suite::{Rig, Subject, Way, run};
use lightship_serial::Patience;
use rig::{Blobs, Desk, Link, device, shore};

struct Line;

impl Subject for Line {
    type Link = Link;
    type Blobs = Blobs;
    type Far = Desk;

    async fn start() -> Option<Rig<Self>> {
        let (way, near, far) = Way::line();
        let (link, blobs) = device(FromTokio::new(near));
        let far = shore(FromTokio::new(far));
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
    let plan = Plan {
        name: "serial",
        signs_per_hour: 3600.0 / Patience::default().ping.as_secs() as f64,
        registering: Registering::Told,
        target_budget: None,
        idle_month: None,
    };
    run(async {
        rows::<Line>(&plan)
            .await
            .iter()
            .for_each(|row| println!("{row}"));
    });
}
