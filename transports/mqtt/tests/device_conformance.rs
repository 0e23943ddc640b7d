//! The suite of lightship-link, with the microcontroller's client, through mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod broker;

use std::net::SocketAddr;

use broker::Broker;
use broker::fleet::Fleet;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Duration;
use embedded_io_adapters::tokio_1::FromTokio;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_link::Unreachable;
use lightship_link::chunk::{Exchange, Reader, Slot};
use lightship_link::mailbox::{Handle, Mailbox, Packet};
use lightship_link::suite::{Rig, Subject, Way};
use lightship_mqtt::device::{Dial, Patience, RX_BYTES, Runner, TX_BYTES};
use tokio::net::TcpStream;

struct Tcp(SocketAddr);

impl Dial for Tcp {
    type Stream<'s> = FromTokio<TcpStream>;

    async fn dial(&mut self) -> Result<FromTokio<TcpStream>, Unreachable> {
        let stream = TcpStream::connect(self.0).await;
        stream.map(FromTokio::new).map_err(|_| Unreachable::Connect)
    }
}

struct Device;

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

impl Subject for Device {
    type Link = Handle<'static, CriticalSectionRawMutex>;
    type Blobs = Reader<'static, CriticalSectionRawMutex>;
    type Far = Fleet;

    async fn start() -> Option<Rig<Self>> {
        let far = Fleet::start(Broker::start("").await?).await;
        let (way, address) = Way::tcp(far.broker.address).await.unwrap();
        let (link, port) = leak(Mailbox::new(leak(Packet::new()))).split();
        let (blobs, asked) = leak(Exchange::new(leak(Slot::new()))).split();
        let patience = Patience {
            keep_alive_s: 5,
            timeout: Duration::from_secs(2),
        };
        let memory: (&mut [u8], &mut [u8]) = (leak([0; RX_BYTES]), leak([0; TX_BYTES]));
        let mut runner = Runner::new(Tcp(address), patience, (port, asked), memory);
        tokio::task::spawn_local(async move { runner.run().await });
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
            vec![1, 99],
            vec![1, 5, 1, 4, 0],
            vec![1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f],
            vec![0xff; 100],
            vec![1; MESSAGE_BYTES + 1],
        ]
    }
}

lightship_link::conformance!(Device);
