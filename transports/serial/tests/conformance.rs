//! The suite of lightship-link, over a line in memory.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod rig;

use embedded_io_adapters::tokio_1::FromTokio;
use lightship_link::suite::{Rig, Subject, Way};
use rig::{Blobs, Desk, Link, device, shore};

struct Line;

impl Subject for Line {
    type Link = Link;
    type Blobs = Blobs;
    type Far = Desk;

    const CUTS: u64 = 30;

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
}

lightship_link::conformance!(Line);
