//! The network card: virtio-net as a driver for embassy-net.
//!
//! Virtio 1.1, section 5.1, with no offloads: a frame is behind a header of twelve zeroes.

use core::task::Context;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;

use crate::interrupts;
use crate::virtio::{Device, Error, Kind, Memory, Queue, Way};

/// The longest Ethernet frame, without its checksum: one with a datagram of the tunnel, and with
/// what DHCP and DNS may answer. The device drops longer ones.
pub const FRAME: usize = 720;
/// The longest that there is on an Ethernet, and two bytes to a multiple of four: for a firmware that speaks to more than the fleet.
pub const WHOLE_FRAME: usize = 1516;
const HEADER: usize = 12;
/// Bytes of a buffer for a frame of so many: a multiple of four.
pub const fn buffer(frame: usize) -> usize {
    HEADER + frame
}
/// Frames that wait for the processor: a window of the agent's TCP that comes while the flash is
/// busy. What comes beyond this is lost, and TCP sends it again.
const RECEIVE: usize = 4;
const SEND: usize = 1;

/// Feature bit 5: the device has an address of its own.
const HAS_ADDRESS: u32 = 1 << 5;

static WAKER: AtomicWaker = AtomicWaker::new();

/// The card's queues, to be put in a `static`; `BUFFER` is [`buffer`] of the longest frame.
pub struct Buffers<const BUFFER: usize = { buffer(FRAME) }> {
    receive: Memory<RECEIVE, BUFFER>,
    send: Memory<SEND, BUFFER>,
}

impl<const BUFFER: usize> Buffers<BUFFER> {
    /// No frame is in them.
    pub const fn new() -> Self {
        Self {
            receive: Memory::new(),
            send: Memory::new(),
        }
    }
}

impl<const BUFFER: usize> Default for Buffers<BUFFER> {
    fn default() -> Self {
        Self::new()
    }
}

/// The network card.
pub struct Card<const BUFFER: usize = { buffer(FRAME) }> {
    _device: Device,
    address: [u8; 6],
    receive: Queue<RECEIVE, BUFFER>,
    send: Queue<SEND, BUFFER>,
}

impl<const BUFFER: usize> Card<BUFFER> {
    /// Takes the card into use.
    ///
    /// # Errors
    ///
    /// If QEMU was not given one.
    ///
    /// # Safety
    ///
    /// Nothing else uses the card.
    pub unsafe fn new(buffers: &'static mut Buffers<BUFFER>) -> Result<Self, Error> {
        // SAFETY: passed on to our caller.
        let device = unsafe { Device::open(Kind::Network, HAS_ADDRESS)? };
        let mut receive = device.queue(0, &mut buffers.receive)?;
        let send = device.queue(1, &mut buffers.send)?;
        device.start();
        for number in 0..RECEIVE as u16 {
            receive.give(number, BUFFER, Way::Fills);
        }
        interrupts::enable(device.interrupt());
        Ok(Self {
            address: core::array::from_fn(|at| device.configuration(at)),
            _device: device,
            receive,
            send,
        })
    }

    /// Room to send a frame from, if there is any.
    fn room(&mut self) -> Option<Room<'_, BUFFER>> {
        while self.send.take().is_some() {}
        let number = self.send.spare()?;
        let queue = &mut self.send;
        Some(Room { queue, number })
    }
}

/// Something happened at the card.
pub(crate) fn wake() {
    WAKER.wake();
}

/// A frame that came.
pub struct Received<'a, const BUFFER: usize> {
    queue: &'a mut Queue<RECEIVE, BUFFER>,
    number: u16,
    len: usize,
}

impl<const BUFFER: usize> embassy_net_driver::RxToken for Received<'_, BUFFER> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        let frame = &mut self.queue.buffer(self.number)[HEADER..];
        let result = read(&mut frame[..self.len]);
        self.queue.give(self.number, BUFFER, Way::Fills);
        result
    }
}

/// Room for a frame.
pub struct Room<'a, const BUFFER: usize> {
    queue: &'a mut Queue<SEND, BUFFER>,
    number: u16,
}

impl<const BUFFER: usize> embassy_net_driver::TxToken for Room<'_, BUFFER> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let buffer = self.queue.buffer(self.number);
        buffer[..HEADER].fill(0);
        let result = write(&mut buffer[HEADER..HEADER + len]);
        self.queue.give(self.number, HEADER + len, Way::Reads);
        result
    }
}

impl<const BUFFER: usize> Driver for Card<BUFFER> {
    type RxToken<'a> = Received<'a, BUFFER>;
    type TxToken<'a> = Room<'a, BUFFER>;

    fn receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Option<(Received<'_, BUFFER>, Room<'_, BUFFER>)> {
        WAKER.register(context.waker());
        while self.send.take().is_some() {}
        let number = self.send.spare()?;
        let (frame, filled) = self.receive.take()?;
        let received = Received {
            queue: &mut self.receive,
            number: frame,
            len: filled.saturating_sub(HEADER),
        };
        let queue = &mut self.send;
        Some((received, Room { queue, number }))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Room<'_, BUFFER>> {
        WAKER.register(context.waker());
        self.room()
    }

    fn link_state(&mut self, _context: &mut Context<'_>) -> LinkState {
        // QEMU's cable is always plugged in; what its network does is seen above.
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = (BUFFER - HEADER).min(1514);
        capabilities.max_burst_size = Some(RECEIVE);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}
