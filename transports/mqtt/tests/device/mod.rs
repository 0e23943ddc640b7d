//! A device behind one broker.

use std::time::Duration;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use lightship_link::chunk::{Exchange, Reader, Slot};
use lightship_link::mailbox::{Handle, Mailbox, Packet};
use lightship_mqtt::host::{Config, Runner};

pub(crate) type Link = Handle<'static, CriticalSectionRawMutex>;
pub(crate) type Blobs = Reader<'static, CriticalSectionRawMutex>;

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// A device whose mailbox lives as long as the test; impatient, so that tests are not.
pub(crate) fn device(mut config: Config) -> (Link, Blobs) {
    config.timeout = Duration::from_secs(2);
    config.keep_alive_s = 5;
    let (link, port) = leak(Mailbox::new(leak(Packet::new()))).split();
    let (blobs, asked) = leak(Exchange::new(leak(Slot::new()))).split();
    let mut runner = Runner::new(config, port, asked);
    tokio::task::spawn_local(async move { runner.run().await });
    (link, blobs)
}
