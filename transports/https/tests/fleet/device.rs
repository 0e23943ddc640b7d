//! A device on one fleet.

use std::time::Duration;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use lightship_https::host::{self, Config, Logs, Reader};
use lightship_link::mailbox::{Handle, Mailbox, Packet};

pub(crate) type Link = Handle<'static, CriticalSectionRawMutex>;

/// A device whose mailbox lives as long as the test; impatient, so that tests are not.
pub(crate) fn device(mut config: Config) -> (Link, Reader, Logs) {
    config.wait = Duration::from_secs(1);
    config.timeout = Duration::from_millis(1500);
    config.poll = Duration::from_millis(30);
    let memory = Box::leak(Box::new(Packet::new()));
    let mailbox: &'static mut _ = Box::leak(Box::new(Mailbox::new(memory)));
    let (link, port) = mailbox.split();
    let (mut runner, reader, logs) = host::parts(config, port);
    tokio::task::spawn_local(async move { runner.run().await });
    (link, reader, logs)
}
