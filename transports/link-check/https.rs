// The microcontroller's HTTP, to be weighed.

use embassy_futures::join::join3;
use lightship_https::device::{self, Dial, Journal, Patience, Runner, Site};
use lightship_link::Unreachable;

use crate::agent::{self, Between, Wire, between};

/// The longest message that is taken, in postcard: two documents of a small release.
const MESSAGE: usize = 2048;

struct Net;

impl Dial for Net {
    type Stream<'s> = Wire;

    async fn dial(&self) -> Result<Wire, Unreachable> {
        Ok(Wire)
    }
}

pub(crate) struct Memory {
    between: Between<MESSAGE>,
    http: device::Memory<MESSAGE, { 2 * MESSAGE }>,
    logs: [u8; 512],
}

impl Memory {
    pub(crate) const fn new() -> Self {
        Self {
            between: Between::new(),
            http: device::Memory::new(),
            logs: [0; 512],
        }
    }
}

pub(crate) fn live(memory: &mut Memory) -> ! {
    let Memory {
        between,
        http,
        logs,
    } = memory;
    let site = Site::new("10.99.0.1:8080", "").expect("a short address is a good one");
    between!(between => (link, blobs), (port, asked));
    let mut journal = Journal::new(logs);
    let (mut logs, offered) = journal.split();
    let parts = (port, asked, offered);
    let mut runner = Runner::new(Net, (site, Patience::DEFAULT), parts, http);
    let printing = async {
        loop {
            let _ = core::hint::black_box(logs.append(device::Kind::Defmt, &[1, 2, 3]).await);
        }
    };
    let all = join3(runner.run(), printing, agent::agent(link, blobs));
    embassy_futures::block_on(all).0
}
