// The microcontroller's MQTT, to be weighed.

use embassy_futures::join::join;
use embassy_time::Duration;
use lightship_link::Unreachable;
use lightship_mqtt::device::{Dial, Patience, Runner, TX_BYTES};
use lightship_mqtt::limits::PACKET_OVERHEAD;

use crate::agent::{self, Between, Wire, between};

/// The longest message that is taken, in postcard: two documents of a small release.
const MESSAGE: usize = 2048;

struct Net;

impl Dial for Net {
    type Stream<'s> = Wire;

    async fn dial(&mut self) -> Result<Wire, Unreachable> {
        Ok(Wire)
    }
}

pub(crate) struct Memory {
    between: Between<MESSAGE>,
    rx: [u8; MESSAGE + PACKET_OVERHEAD],
    tx: [u8; TX_BYTES],
}

impl Memory {
    pub(crate) const fn new() -> Self {
        Self {
            between: Between::new(),
            rx: [0; MESSAGE + PACKET_OVERHEAD],
            tx: [0; TX_BYTES],
        }
    }
}

pub(crate) fn live(memory: &mut Memory) -> ! {
    let patience = Patience {
        keep_alive_s: 900,
        timeout: Duration::from_secs(30),
    };
    let Memory { between, rx, tx } = memory;
    between!(between => (link, blobs), (port, asked));
    let mut runner = Runner::new(Net, patience, (port, asked), (rx, tx));
    let both = join(runner.run(), agent::agent(link, blobs));
    embassy_futures::block_on(both).0
}
