//! The suite of lightship-link, through mosquitto, with and without TLS.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod broker;
mod device;

use broker::Broker;
use broker::fleet::Fleet;
use device::{Blobs, Link, device};
use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::suite::certificate::Authority;
use lightship_link::suite::{Rig, Subject, Way};
use lightship_mqtt::host::Config;

/// What is no message, in postcard.
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

mod plain {
    use super::*;

    struct Plain;

    impl Subject for Plain {
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
        type Blobs = Blobs;
        type Far = Fleet;

        const CUTS: u64 = 40;

        async fn start() -> Option<Rig<Self>> {
            let authority = Authority::new();
            let identity = authority.issue("localhost", 2100);
            let far = Fleet::start(Broker::start_tls(&identity).await?).await;
            let (way, address) = Way::tcp(far.broker.tls.unwrap()).await.unwrap();
            let config = Config::new("localhost", address.port());
            let (link, blobs) = device(config.with_tls(authority.pem().as_bytes()).unwrap());
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
