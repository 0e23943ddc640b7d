// What every weighed transport has on its other side: an agent in small, streams that lead nowhere, and a clock.

use core::convert::Infallible;
use core::hint::black_box;
use core::task::Waker;

use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_io_async::{ErrorType, Read, Write};
use lightship_core::id::{ApiKey, Digest, Uuid};
use lightship_core::wire::{NewKey, Up};
use lightship_link::chunk::{Reader, Slot};
use lightship_link::mailbox::{Handle, Packet};
use lightship_link::{Blobs, Credentials, Known, Link, Secret};

/// Nothing else runs here, so nothing locks.
pub(crate) type Lock = NoopRawMutex;
struct Clock;

impl embassy_time_driver::Driver for Clock {
    fn now(&self) -> u64 {
        black_box(0)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        black_box((at, waker));
    }
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock);

/// A board's network or line.
pub(crate) struct Wire;

impl ErrorType for Wire {
    type Error = Infallible;
}

impl Read for Wire {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        into.fill(black_box(7));
        Ok(black_box(into.len()))
    }
}

impl Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(black_box(bytes).len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Memory that any transport needs.
pub(crate) struct Between<const N: usize> {
    pub(crate) packet: Packet<N>,
    pub(crate) slot: Slot,
}

impl<const N: usize> Between<N> {
    pub(crate) const fn new() -> Self {
        Self {
            packet: Packet::new(),
            slot: Slot::new(),
        }
    }
}

/// Both sides of what lies between an agent and its transport.
macro_rules! between {
    ($memory:expr => ($link:ident, $blobs:ident), ($port:ident, $asked:ident)) => {
        let memory: &mut crate::agent::Between<_> = $memory;
        let mut mailbox =
            lightship_link::mailbox::Mailbox::<crate::agent::Lock, _>::new(&mut memory.packet);
        let mut exchange =
            lightship_link::chunk::Exchange::<crate::agent::Lock>::new(&mut memory.slot);
        let ($link, $port) = mailbox.split();
        let ($blobs, $asked) = exchange.split();
    };
}
pub(crate) use between;

pub(crate) async fn agent<const N: usize>(
    mut link: Handle<'_, Lock, N>,
    mut blobs: Reader<'_, Lock>,
) {
    let secret = Secret::Api(ApiKey(black_box([1; 32])));
    let uuid = Uuid::from_random(black_box([2; 16]));
    link.connect(&Credentials { uuid, secret }, Known::default());
    let mut piece = [0; 256];
    loop {
        let message = Up::ProposeKey(NewKey::Api(ApiKey(black_box([3; 32]))));
        let _ = black_box(link.send(black_box(message)));
        black_box(link.next().await);
        let digest = Digest(black_box([4; 32]));
        let read = blobs.read(&digest, black_box(0), &mut piece);
        let _ = black_box(select(read, link.next()).await);
        if black_box(false) {
            link.disconnect();
        }
    }
}
