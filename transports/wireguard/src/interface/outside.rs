//! Counts what arrives at an interface's UDP port and is no WireGuard message: whoever carries the tunnel drops that without a word.
//!
//! A raw socket gets a copy of each datagram that a filter of the kernel lets through, and the filter lets through what is malformed and nothing else, so the tunnel's own datagrams cost nothing.
//! What is well formed and still dropped, because it is forged or replayed, cannot be told from outside.

use std::io::{self, Read as _};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::ping::Ping;

/// Datagrams counted at one look; a flood is more, and the kernel keeps fewer.
const MOST: usize = 16_384;

/// Bytes of each that are copied: enough for both headers and a ping.
const COPIED: u32 = 96;

/// Bytes of a UDP header.
const UDP: usize = 8;

/// Datagrams so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Nonsense {
    /// No message of any kind.
    pub(crate) malformed: u64,
    /// Keep-alives of one byte, and questions about a silence.
    pub(crate) pings: u64,
}

/// The raw sockets for one port: IPv4's, and IPv6's where there is that.
pub(crate) struct Outside {
    port: u16,
    sockets: Vec<(Socket, bool)>,
    counted: Nonsense,
}

impl Outside {
    /// Counts at this UDP port of the network namespace of the thread that calls.
    ///
    /// # Errors
    /// Without the right to raw sockets.
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let mut sockets = vec![(raw(Domain::IPV4, port)?, true)];
        sockets.extend(raw(Domain::IPV6, port).ok().map(|socket| (socket, false)));
        Ok(Self {
            port,
            sockets,
            counted: Nonsense::default(),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What arrived until now.
    pub(crate) fn look(&mut self) -> Nonsense {
        let mut buffer = [0; COPIED as usize];
        for (socket, has_header) in &mut self.sockets {
            for _ in 0..MOST {
                let Ok(length) = socket.read(&mut buffer) else {
                    break;
                };
                let before = if *has_header {
                    usize::from(buffer[0] & 0xf) * 4
                } else {
                    0
                };
                let datagram = buffer[..length].get(before + UDP..).unwrap_or_default();
                match Ping::decode(datagram) {
                    Some(Ping::Hold | Ping::Probe { .. }) => self.counted.pings += 1,
                    Some(Ping::Echo { .. } | Ping::Unknown) | None => self.counted.malformed += 1,
                }
            }
        }
        self.counted
    }
}

fn raw(domain: Domain, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::UDP))?;
    socket.attach_filter(&malformed(domain == Domain::IPV4, port))?;
    socket.set_nonblocking(true)?;
    // What came between the two was not filtered.
    let mut buffer = [0; 1];
    while (&socket).read(&mut buffer).is_ok() {}
    Ok(socket)
}

/// A program of classic BPF that lets through the datagrams to this port that are no WireGuard message (WireGuard paper, section 5.4).
fn malformed(has_header: bool, port: u16) -> [SockFilter; 18] {
    const HEADER_TO_X: u16 = 0xb1;
    const CONSTANT_TO_X: u16 = 0x01;
    const LOAD_HALF: u16 = 0x48;
    const LOAD_WORD: u16 = 0x40;
    const EQUAL: u16 = 0x15;
    const AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    // A jump skips so many steps, where it holds and where it does not.
    let step = |code, yes, no, value| SockFilter::new(code, yes, no, value);
    let of_length = |length: u32, yes, no| step(EQUAL, yes, no, length + UDP as u32);
    let to_x = if has_header {
        HEADER_TO_X
    } else {
        CONSTANT_TO_X
    };
    [
        step(to_x, 0, 0, 0),
        step(LOAD_HALF, 0, 0, 2),
        step(EQUAL, 0, 13, port.into()),
        step(LOAD_HALF, 0, 0, 4),
        // An empty packet is the shortest message.
        step(AT_LEAST, 0, 12, 32 + UDP as u32),
        step(LOAD_WORD, 0, 0, UDP as u32),
        // A packet may have any length.
        step(EQUAL, 9, 0, 0x0400_0000),
        step(EQUAL, 0, 2, 0x0100_0000),
        step(LOAD_HALF, 0, 0, 4),
        of_length(148, 6, 7),
        step(EQUAL, 0, 2, 0x0200_0000),
        step(LOAD_HALF, 0, 0, 4),
        of_length(92, 3, 4),
        step(EQUAL, 0, 3, 0x0300_0000),
        step(LOAD_HALF, 0, 0, 4),
        of_length(64, 0, 1),
        step(RETURN, 0, 0, 0),
        step(RETURN, 0, 0, COPIED),
    ]
}
