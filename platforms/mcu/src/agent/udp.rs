//! The network around the tunnel, on embassy-net: what most boards use.

use core::marker::PhantomData;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_net::dns::DnsQueryType;
use embassy_net::driver::Driver;
use embassy_net::udp::UdpSocket;
use embassy_net::{IpAddress, IpEndpoint, Stack};

use super::{Alone, Outside};

/// A bound UDP socket of the board's stack, which also resolves names.
pub struct Udp<'s, C = Alone> {
    stack: Stack<'s>,
    socket: UdpSocket<'s>,
    card: PhantomData<C>,
}

impl<'s> Udp<'s> {
    /// The socket is bound to any port; its buffers hold a few datagrams of [`DATAGRAM_BYTES`](super::DATAGRAM_BYTES).
    pub fn new(stack: Stack<'s>, socket: UdpSocket<'s>) -> Self {
        Udp::beside(stack, socket)
    }
}

impl<'s, C: Driver> Udp<'s, C> {
    /// The same for a stack whose card is a [`Nic::Card`](super::Nic::Card) of `C`: it and the agent's are one code, which saves 4 KB of flash.
    pub fn beside(stack: Stack<'s>, socket: UdpSocket<'s>) -> Self {
        let card = PhantomData;
        Self {
            stack,
            socket,
            card,
        }
    }
}

impl<C> core::fmt::Debug for Udp<'_, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Udp").finish_non_exhaustive()
    }
}

impl<C: Driver> Outside for Udp<'_, C> {
    type Card = C;

    async fn resolve(&mut self, host: &str) -> Option<IpAddr> {
        let found = self.stack.dns_query(host, DnsQueryType::A).await.ok()?;
        found.first().map(|address| (*address).into())
    }

    async fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        let IpAddr::V4(address) = to.ip() else {
            return;
        };
        let to = IpEndpoint::new(IpAddress::Ipv4(address), to.port());
        // Without an address yet, or with a full queue, it is lost, as it could be anywhere on its way.
        let _ = self.socket.send_to(datagram, to).await;
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            // One that does not fit is no datagram of ours.
            if let Ok((length, from)) = self.socket.recv_from(buffer).await {
                let from = from.endpoint;
                let address: IpAddr = from.addr.into();
                let none = address == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                if !none {
                    return (length, SocketAddr::new(address, from.port));
                }
            }
        }
    }
}
