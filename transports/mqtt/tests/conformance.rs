//! The suite of lightship-link, through mosquitto: a host with and without TLS, and a microcontroller.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod broker;
mod device;

use broker::Broker;
use broker::fleet::Fleet;
use device::{Blobs, Link, device, microcontroller};
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

/// Makes a module with the suite for one way to start; without `CUTS` a conversation is cut at each of its bytes.
macro_rules! suite_of {
    ($name:ident, $start:expr $(, cuts: $cuts:expr)?) => {
        mod $name {
            use super::*;

            struct Tested;

            impl Subject for Tested {
                type Link = Link;
                type Blobs = Blobs;
                type Far = Fleet;

                $(const CUTS: u64 = $cuts;)?

                async fn start() -> Option<Rig<Self>> {
                    let (link, blobs, far, way) = $start.await?;
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

suite_of!(plain, plainly());
suite_of!(tls, over_tls(), cuts: 400);
suite_of!(microcontrollers, of_a_microcontroller());

type Started = Option<(Link, Blobs, Fleet, Way)>;

async fn plainly() -> Started {
    let far = Fleet::start(Broker::start("").await?).await;
    let (way, address) = Way::tcp(far.broker.address).await.unwrap();
    let (link, blobs) = device(Config::new("127.0.0.1", address.port()));
    Some((link, blobs, far, way))
}

async fn over_tls() -> Started {
    let authority = Authority::new();
    let identity = authority.issue("localhost", 2100);
    let far = Fleet::start(Broker::start_tls(&identity).await?).await;
    let (way, address) = Way::tcp(far.broker.tls.unwrap()).await.unwrap();
    let config = Config::new("localhost", address.port());
    let (link, blobs) = device(config.with_tls(authority.pem().as_bytes()).unwrap());
    Some((link, blobs, far, way))
}

async fn of_a_microcontroller() -> Started {
    let far = Fleet::start(Broker::start("").await?).await;
    let (way, address) = Way::tcp(far.broker.address).await.unwrap();
    let (link, blobs) = microcontroller(address);
    Some((link, blobs, far, way))
}
