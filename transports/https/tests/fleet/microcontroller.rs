//! A microcontroller's half on one fleet, over TCP without TLS.

use std::net::SocketAddr;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Duration;
use embedded_io_adapters::tokio_1::FromTokio;
use lightship_https::device::{Dial, Journal, Logs, Memory, Patience, Runner, Site};
use lightship_https::limits::BODY_BYTES;
use lightship_link::Unreachable;
use lightship_link::chunk::{Exchange, Reader, Slot};
use lightship_link::mailbox::{Handle, Mailbox, Packet};
use tokio::net::TcpStream;

pub(crate) type Link = Handle<'static, CriticalSectionRawMutex>;
pub(crate) type Blobs = Reader<'static, CriticalSectionRawMutex>;

struct Tcp(SocketAddr);

impl Dial for Tcp {
    type Stream<'s> = FromTokio<TcpStream>;

    async fn dial(&self) -> Result<FromTokio<TcpStream>, Unreachable> {
        let stream = TcpStream::connect(self.0).await;
        stream.map(FromTokio::new).map_err(|_| Unreachable::Connect)
    }
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// A device whose memory lives as long as the test; impatient, so that tests are not.
pub(crate) fn microcontroller(
    address: SocketAddr,
) -> (Link, Blobs, Logs<'static, CriticalSectionRawMutex>) {
    let (link, port) = leak(Mailbox::new(leak(Packet::new()))).split();
    let (blobs, asked) = leak(Exchange::new(leak(Slot::new()))).split();
    let (logs, offered) = leak(Journal::new(leak([0; BODY_BYTES]))).split();
    let patience = Patience {
        wait: Duration::from_secs(1),
        timeout: Duration::from_millis(1500),
        poll: Duration::from_millis(30),
    };
    let site = Site::new("127.0.0.1", "").unwrap();
    let parts = (port, asked, offered);
    let mut runner = Runner::new(Tcp(address), (site, patience), parts, leak(<Memory>::new()));
    tokio::task::spawn_local(async move { runner.run().await });
    (link, blobs, logs)
}
