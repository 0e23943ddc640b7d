//! The kernel's netlink protocol (RFC 3549, linux/netlink.h): messages of nested attributes, and answers.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACKNOWLEDGE: u16 = 0x4;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;
const NESTED: u16 = 0x8000;

/// Answers to one call are bounded by the messages that were sent.
const MAX_ANSWERS: usize = 4096;

/// A socket to one part of the kernel; none named is the routing part.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// A message under construction, or several in a row.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    acknowledged: usize,
    start: usize,
}

impl Socket {
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 1 })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Sends messages and waits until each that asks for it was answered; the first error counts.
    pub(super) fn call(&mut self, mut messages: Messages) -> io::Result<()> {
        messages.number(&mut self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.fd, &messages.bytes, SendFlags::empty(), &kernel)?;
        let mut outcome = Ok(());
        let mut open = messages.acknowledged;
        for _ in 0..MAX_ANSWERS {
            if open == 0 {
                break;
            }
            let mut buffer = [0; 16 * 1024];
            let (_, length) = rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
            for (kind, body) in split(&buffer[..length]) {
                if kind != ERROR {
                    continue;
                }
                open = open.saturating_sub(1);
                let code = body
                    .first_chunk()
                    .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                if code != 0 && outcome.is_ok() {
                    outcome = Err(io::Error::from_raw_os_error(-code));
                    // A batch that failed is answered for the messages at fault alone.
                    open = 0;
                }
            }
        }
        outcome
    }
}

impl Messages {
    /// Starts a message with its fixed part.
    pub(super) fn start(&mut self, kind: u16, flags: u16, fixed: &[u8]) {
        self.finish();
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(fixed);
        if flags & ACKNOWLEDGE != 0 {
            self.acknowledged += 1;
        }
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("attributes are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.align();
    }

    /// Adds a text with its zero.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// Adds a number in network order.
    pub(super) fn number_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Adds an attribute of attributes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("attributes are short");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds bytes that are no attribute.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self) {
        if self.bytes.len() > self.start {
            let length = u32::try_from(self.bytes.len() - self.start).expect("messages are short");
            self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn number(&mut self, sequence: &mut u32) {
        self.finish();
        let mut at = 0;
        while let Some(length) = self
            .bytes
            .get(at..at + 4)
            .and_then(|bytes| bytes.first_chunk())
        {
            let length = u32::from_ne_bytes(*length) as usize;
            self.bytes[at + 8..at + 12].copy_from_slice(&sequence.to_ne_bytes());
            *sequence = sequence.wrapping_add(1);
            at += length.max(HEADER_BYTES).next_multiple_of(4);
        }
    }
}

/// The messages in what was received: kind and body.
fn split(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = u32::from_ne_bytes(*bytes.first_chunk().expect("there are 16 bytes")) as usize;
        if !(HEADER_BYTES..=bytes.len()).contains(&length) {
            break;
        }
        found.push((
            u16::from_ne_bytes([bytes[4], bytes[5]]),
            &bytes[HEADER_BYTES..length],
        ));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}
