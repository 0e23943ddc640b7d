//! A device behind one broker: a host or a microcontroller.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::net::SocketAddr;
use std::time::Duration;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embedded_io_adapters::tokio_1::FromTokio;
use lightship_link::Unreachable;
use lightship_link::chunk::{Asked, Exchange, Reader, Slot};
use lightship_link::mailbox::{Handle, Mailbox, Packet, Port};
use lightship_mqtt::device::{Dial, Patience, RX_BYTES, TX_BYTES};
use lightship_mqtt::{device, host};
use tokio::net::TcpStream;

pub(crate) type Link = Handle<'static, CriticalSectionRawMutex>;
pub(crate) type Blobs = Reader<'static, CriticalSectionRawMutex>;

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

type Ends = (
    Port<'static, CriticalSectionRawMutex>,
    Asked<'static, CriticalSectionRawMutex>,
);

/// Both sides of what lies between an agent and its transport; they live as long as the test.
fn between() -> (Link, Blobs, Ends) {
    let (link, port) = leak(Mailbox::new(leak(Packet::new()))).split();
    let (blobs, asked) = leak(Exchange::new(leak(Slot::new()))).split();
    (link, blobs, (port, asked))
}

/// A host; impatient, so that tests are not.
pub(crate) fn device(mut config: host::Config) -> (Link, Blobs) {
    config.timeout = Duration::from_secs(2);
    config.keep_alive_s = 5;
    let (link, blobs, (port, asked)) = between();
    let mut runner = host::Runner::new(config, port, asked);
    tokio::task::spawn_local(async move { runner.run().await });
    (link, blobs)
}

struct Tcp(SocketAddr);

impl Dial for Tcp {
    type Stream<'s> = FromTokio<TcpStream>;

    async fn dial(&mut self) -> Result<FromTokio<TcpStream>, Unreachable> {
        let stream = TcpStream::connect(self.0).await;
        stream.map(FromTokio::new).map_err(|_| Unreachable::Connect)
    }
}

/// A microcontroller, as impatient.
pub(crate) fn microcontroller(broker: SocketAddr) -> (Link, Blobs) {
    let patience = Patience {
        keep_alive_s: 5,
        timeout: embassy_time::Duration::from_secs(2),
    };
    let memory: (&mut [u8], &mut [u8]) = (leak([0; RX_BYTES]), leak([0; TX_BYTES]));
    let (link, blobs, ends) = between();
    let mut runner = device::Runner::new(Tcp(broker), patience, ends, memory);
    tokio::task::spawn_local(async move { runner.run().await });
    (link, blobs)
}

/// One of both.
pub(crate) trait Half {
    fn start(broker: SocketAddr) -> (Link, Blobs);
}

pub(crate) struct Host;
pub(crate) struct Microcontroller;

impl Half for Host {
    fn start(broker: SocketAddr) -> (Link, Blobs) {
        device(host::Config::new("127.0.0.1", broker.port()))
    }
}

impl Half for Microcontroller {
    fn start(broker: SocketAddr) -> (Link, Blobs) {
        microcontroller(broker)
    }
}
