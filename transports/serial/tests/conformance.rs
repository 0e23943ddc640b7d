//! The suite of lightship-link, over a line in memory and over a cable between two terminals.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod rig;

use embedded_io_adapters::tokio_1::FromTokio;
use lightship_link::suite::{Rig, Subject, Way};
use rig::{Blobs, Desk, Link, device, shore, terminals};

/// What is no message, in postcard.
fn rubbish() -> Vec<Vec<u8>> {
    vec![
        vec![],
        vec![0],
        vec![9, 5, 1, 4],
        vec![1],
        vec![1, 99],
        vec![1, 5, 1, 4, 0],
        vec![1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![0xff; 100],
        b"{\"command\":{\"id\":1,\"order\":\"report\"}}".to_vec(),
    ]
}

/// Makes a module with the suite for one kind of line; a conversation is cut at each of its bytes.
macro_rules! suite_of {
    ($name:ident, $line:expr) => {
        mod $name {
            use super::*;

            struct Tested;

            impl Subject for Tested {
                type Link = Link;
                type Blobs = Blobs;
                type Far = Desk;

                async fn start() -> Option<Rig<Self>> {
                    let (way, near, far) = $line?;
                    let (link, blobs) = device(near);
                    let far = shore(far);
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

            lightship_link::conformance!(Tested);
        }
    };
}

suite_of!(memory, in_memory());
suite_of!(terminal, terminals::cable());

type Port = FromTokio<tokio::io::DuplexStream>;

fn in_memory() -> Option<(Way, Port, Port)> {
    let (way, near, far) = Way::line();
    Some((way, FromTokio::new(near), FromTokio::new(far)))
}
