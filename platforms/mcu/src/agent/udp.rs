//! The network around the tunnel, on embassy-net: what most boards use.

use core::marker::PhantomData;
use core::net::{Ipv4Addr, SocketAddrV4};

use embassy_net::driver::Driver;
use embassy_net::udp::UdpSocket;
use embassy_net::{IpAddress, IpEndpoint, Stack};
use embassy_time::{Duration, with_timeout};

use super::names::{self, Question};
use super::{Alone, Outside};
use crate::limits::NAME_ROUNDS;

/// A bound UDP socket of the board's stack, through which names are asked for too.
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

    /// Waits for what this server says; what others send meanwhile is lost, as it could be anywhere on its way.
    async fn answer(&mut self, question: &Question, server: IpEndpoint) -> Option<Ipv4Addr> {
        loop {
            let answer = self.socket.recv_from_with(|datagram, from| {
                let is_theirs = from.endpoint == server;
                is_theirs.then(|| question.answer(datagram)).flatten()
            });
            if let Some(answer) = answer.await {
                return answer;
            }
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

    async fn resolve(&mut self, host: &str, number: u16) -> Option<Ipv4Addr> {
        if let Some(address) = names::written(host) {
            return Some(address);
        }
        let question = Question::new(host, number)?;
        let servers = self.stack.config_v4()?.dns_servers;
        for round in 0..NAME_ROUNDS {
            for server in &servers {
                let server = IpEndpoint::new(IpAddress::Ipv4(*server), names::PORT);
                if self.socket.send_to(question.bytes(), server).await.is_err() {
                    continue;
                }
                let answer = self.answer(&question, server);
                if let Ok(Some(address)) =
                    with_timeout(Duration::from_secs(1 << round), answer).await
                {
                    return Some(address);
                }
            }
        }
        None
    }

    async fn send(&mut self, to: SocketAddrV4, datagram: &[u8]) {
        let to = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        // Without an address yet, or with a full queue, it is lost, as it could be anywhere on its way.
        let _ = self.socket.send_to(datagram, to).await;
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> (usize, SocketAddrV4) {
        loop {
            // One that does not fit is no datagram of ours.
            if let Ok((length, from)) = self.socket.recv_from(buffer).await {
                let IpAddress::Ipv4(address) = from.endpoint.addr;
                if !address.is_unspecified() {
                    return (length, SocketAddrV4::new(address, from.endpoint.port));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use embassy_futures::join::join;
    use embassy_futures::select::{Either, Either3, select, select3};
    use embassy_net::udp::PacketMetadata;
    use embassy_net::{Config, Ipv4Cidr, StackResources, StaticConfigV4};
    use embassy_net_driver_channel as channel;

    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const HUB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    fn config(address: Ipv4Addr, servers: &[Ipv4Addr]) -> Config {
        Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(address, 24),
            gateway: None,
            dns_servers: heapless::Vec::from_slice(servers).unwrap(),
        })
    }

    /// Carries packets from one stack to the other.
    async fn carry(
        from: &mut channel::TxRunner<'_, 600>,
        to: &mut channel::RxRunner<'_, 600>,
    ) -> ! {
        loop {
            let packet = from.tx_buf().await;
            let room = to.rx_buf().await;
            let len = packet.len();
            room[..len].copy_from_slice(packet);
            to.rx_done(len);
            from.tx_done();
        }
    }

    /// A device with these name servers, and a stack at [`SERVER`], until the test is over.
    async fn between<T>(
        servers: &[Ipv4Addr],
        test: impl AsyncFnOnce(Stack<'_>, Stack<'_>) -> T,
    ) -> T {
        let mut buffers = [(); 2].map(|()| channel::State::<600, 4, 4>::new());
        let mut sockets = [(); 2].map(|()| StackResources::<3>::new());
        let ([near, far], [a, b]) = (&mut buffers, &mut sockets);
        let (near, card) = channel::new(near, channel::driver::HardwareAddress::Ip);
        let (device, mut run) = embassy_net::new(card, config(DEVICE, servers), a, 1);
        let (far, card) = channel::new(far, channel::driver::HardwareAddress::Ip);
        let (server, mut run_server) = embassy_net::new(card, config(SERVER, &[]), b, 2);
        let (state, mut near_receives, mut near_sends) = near.split();
        state.set_link_state(channel::driver::LinkState::Up);
        let (state, mut far_receives, mut far_sends) = far.split();
        state.set_link_state(channel::driver::LinkState::Up);
        let there = carry(&mut near_sends, &mut far_receives);
        let back = carry(&mut far_sends, &mut near_receives);
        let network = join(run.run(), run_server.run());
        match select3(test(device, server), network, join(there, back)).await {
            Either3::First(result) => result,
            Either3::Second(_) | Either3::Third(_) => unreachable!("they run for ever"),
        }
    }

    async fn with_socket<T>(
        stack: Stack<'_>,
        port: u16,
        test: impl AsyncFnOnce(UdpSocket<'_>) -> T,
    ) -> T {
        let mut packets = [[PacketMetadata::EMPTY; 4]; 2];
        let mut bytes = [[0; 1024]; 2];
        let ([received, sent], [receiving, sending]) = (&mut packets, &mut bytes);
        let mut socket = UdpSocket::new(stack, received, receiving, sent, sending);
        socket.bind(port).unwrap();
        test(socket).await
    }

    /// What a name server says to this question.
    fn answer(question: &[u8], address: Ipv4Addr) -> std::vec::Vec<u8> {
        let mut bytes = question.to_vec();
        (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80, 1);
        bytes.extend(b"\xC0\x0C\0\x01\0\x01\0\0\0\x3C\0\x04");
        bytes.extend(address.octets());
        bytes
    }

    /// Answers every question, once another server and a wrong answer have had their say.
    async fn serve(socket: UdpSocket<'_>, other: UdpSocket<'_>) -> ! {
        let mut question = [0; 512];
        loop {
            let (len, from) = socket.recv_from(&mut question).await.unwrap();
            let wrong = answer(&question[..len], Ipv4Addr::new(6, 6, 6, 6));
            other.send_to(&wrong, from.endpoint).await.unwrap();
            let mut guessed = wrong;
            guessed[0] ^= 1;
            socket.send_to(&guessed, from.endpoint).await.unwrap();
            let right = answer(&question[..len], HUB);
            socket.send_to(&right, from.endpoint).await.unwrap();
        }
    }

    async fn resolved(servers: &[Ipv4Addr], host: &str) -> Option<Ipv4Addr> {
        between(servers, async |device, server| {
            with_socket(device, 0, async |socket| {
                let mut udp: Udp<'_> = Udp::new(device, socket);
                let served = with_socket(server, names::PORT, async |socket| {
                    with_socket(server, 5353, async |other| serve(socket, other).await).await
                });
                match select(udp.resolve(host, 0xBEEF), served).await {
                    Either::First(found) => found,
                    Either::Second(never) => never,
                }
            })
            .await
        })
        .await
    }

    #[test]
    fn a_name_is_what_the_server_that_was_asked_says_to_the_question_that_was_asked() {
        let found = embassy_futures::block_on(resolved(&[SERVER], "hub.example.org"));
        assert_eq!(found, Some(HUB));
    }

    #[test]
    fn the_next_server_is_asked_when_one_is_silent() {
        let silent = Ipv4Addr::new(10, 0, 0, 9);
        let found = embassy_futures::block_on(resolved(&[silent, SERVER], "hub.example.org"));
        assert_eq!(found, Some(HUB));
    }

    #[test]
    fn an_address_is_asked_of_nobody_and_without_servers_no_name_is_found() {
        let written = embassy_futures::block_on(resolved(&[], "192.0.2.1"));
        assert_eq!(written, Some(Ipv4Addr::new(192, 0, 2, 1)));
        let none = embassy_futures::block_on(resolved(&[], "hub.example.org"));
        assert_eq!(none, None);
    }
}
