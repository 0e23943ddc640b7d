//! The suite of lightship-link, with the microcontroller's client, through mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod broker;
mod device;

use broker::Broker;
use broker::fleet::Fleet;
use device::{Blobs, Link, microcontroller};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::suite::{Rig, Subject, Way};

struct Device;

impl Subject for Device {
    type Link = Link;
    type Blobs = Blobs;
    type Far = Fleet;

    async fn start() -> Option<Rig<Self>> {
        let far = Fleet::start(Broker::start("").await?).await;
        let (way, address) = Way::tcp(far.broker.address).await.unwrap();
        let (link, blobs) = microcontroller(address);
        Some(Rig {
            link,
            blobs,
            far,
            way,
        })
    }

    fn rubbish() -> Vec<Vec<u8>> {
        vec![
            vec![],
            vec![0],
            vec![9, 5, 1, 4],
            vec![1, 99],
            vec![1, 5, 1, 4, 0],
            vec![1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f],
            vec![0xff; 100],
            vec![1; MESSAGE_BYTES + 1],
        ]
    }
}

lightship_link::conformance!(Device);
