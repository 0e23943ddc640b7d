//! The stack's network card: two queues of packets.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::limits;

pub(super) struct Nic {
    received: VecDeque<Vec<u8>>,
    to_send: VecDeque<Vec<u8>>,
}

impl Nic {
    pub(super) fn new() -> Self {
        Self {
            received: VecDeque::new(),
            to_send: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.received.is_empty() && self.to_send.is_empty()
    }

    /// A packet that finds the queue full is dropped, as a card would.
    pub(super) fn push(&mut self, packet: Vec<u8>) {
        if self.received.len() < limits::BURST_PACKETS {
            self.received.push_back(packet);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.to_send.pop_front()
    }
}

impl Device for Nic {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Room<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), Room(&mut self.to_send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (self.to_send.len() < limits::BURST_PACKETS).then_some(Room(&mut self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(limits::MTU);
        capabilities
    }
}

pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(super) struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}
