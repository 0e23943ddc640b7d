//! The suite of lightship-link, through mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod broker;
mod device;

use broker::Broker;
use broker::fleet::Fleet;
use device::{Blobs, Link, device};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::suite::{Rig, Subject, Way};
use lightship_mqtt::host::Config;

struct Host;

impl Subject for Host {
    type Link = Link;
    type Blobs = Blobs;
    type Far = Fleet;

    async fn start() -> Option<Rig<Self>> {
        let far = Fleet::start(Broker::start("").await?).await;
        let (way, address) = Way::tcp(far.broker.address).await.unwrap();
        let (link, blobs) = device(Config::new("127.0.0.1", address.port()));
        Some(Rig {
            link,
            blobs,
            far,
            way,
        })
    }

    fn rubbish() -> Vec<Vec<u8>> {
        let mut trailing = vec![1, 5, 1, 4];
        trailing.push(0);
        vec![
            vec![],
            vec![0],
            vec![9, 5, 1, 4],
            vec![1],
            vec![1, 99],
            trailing,
            vec![1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f],
            vec![0xff; 100],
            vec![1; MESSAGE_BYTES + 1],
            b"{\"command\":{\"id\":1,\"order\":\"report\"}}".to_vec(),
        ]
    }
}

lightship_link::conformance!(Host);
