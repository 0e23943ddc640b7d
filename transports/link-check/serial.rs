// The device's end of a line, to be weighed.

use embassy_futures::join::join;
use embassy_time::Duration;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_serial::Patience;
use lightship_serial::device::Runner;

use crate::agent::{self, Between, Wire, between};

pub(crate) struct Memory(Between<MESSAGE_BYTES>);

impl Memory {
    pub(crate) const fn new() -> Self {
        Self(Between::new())
    }
}

pub(crate) fn live(memory: &mut Memory) -> ! {
    let patience = Patience {
        answer: Duration::from_secs(1),
        ping: Duration::from_secs(30),
    };
    between!(&mut memory.0 => (link, blobs), (port, asked));
    let mut runner = Runner::new(Wire, patience, port, asked);
    let both = join(runner.run(), agent::agent(link, blobs));
    embassy_futures::block_on(both).0
}
