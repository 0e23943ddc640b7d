//! UDP and names, by the operating system.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use lightship_mcu::agent::{Alone, Outside};
use tokio::net::UdpSocket;

/// A socket on any port.
#[derive(Debug)]
pub(crate) struct Socket(UdpSocket);

impl Socket {
    pub(crate) async fn open() -> io::Result<Self> {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map(Self)
    }
}

impl Outside for Socket {
    type Card = Alone;

    async fn resolve(&mut self, host: &str, _: u16) -> Option<Ipv4Addr> {
        let mut found = tokio::net::lookup_host((host, 0)).await.ok()?;
        found.find_map(|found| match found.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    async fn send(&mut self, to: SocketAddrV4, datagram: &[u8]) {
        // What cannot be sent is lost, as it could be anywhere on its way.
        let _ = self.0.send_to(datagram, to).await;
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> (usize, SocketAddrV4) {
        loop {
            // An error is one of an earlier datagram that found nobody.
            if let Ok((length, SocketAddr::V4(from))) = self.0.recv_from(buffer).await {
                return (length, from);
            }
        }
    }
}
