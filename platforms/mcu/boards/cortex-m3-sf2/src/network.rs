//! The Ethernet MAC of the SmartFusion2, as a driver for embassy-net.
//!
//! Registers and descriptors are those of the MSS user guide (UG0331, chapter Ethernet MAC).

use core::marker::PhantomData;
use core::task::Context;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;

const MAC: usize = 0x4004_1000;
const CONFIGURATION: usize = 0x000;
const LONGEST_FRAME: usize = 0x010;
const ADDRESS_FIRST_FOUR: usize = 0x040;
const ADDRESS_LAST_TWO: usize = 0x044;
const SEND_CONTROL: usize = 0x180;
const SEND_DESCRIPTOR: usize = 0x184;
const SEND_STATUS: usize = 0x188;
const RECEIVE_CONTROL: usize = 0x18C;
const RECEIVE_DESCRIPTOR: usize = 0x190;
const RECEIVE_STATUS: usize = 0x194;
const INTERRUPT_MASK: usize = 0x198;

const RESET: u32 = 1 << 31;
const RECEIVE_AND_SEND: u32 = 0b101;
const ENABLE: u32 = 1;
/// In a status: one packet is done; written, it counts one off.
const ONE_PACKET: u32 = 1;
const UNDERRUN: u32 = 1 << 1;
const OVERFLOW: u32 = 1 << 2;
const SENT: u32 = 1;
const CAME: u32 = 1 << 4;

/// In a descriptor: its buffer is the processor's to fill, or the device's.
const EMPTY: u32 = 1 << 31;
const LEN: u32 = 0x7FF;

/// The longest Ethernet frame, without its checksum: one with a datagram of the tunnel, and with
/// what DHCP and DNS may answer. The device drops longer ones.
pub const FRAME: usize = 720;
/// The longest that there is on an Ethernet, and two bytes to a multiple of four: for a firmware that speaks to more than the fleet.
pub const WHOLE_FRAME: usize = 1516;
/// Frames that wait for the processor: a window of the agent's TCP, and the acknowledgements around
/// it, that come while the flash is busy. What comes beyond this is lost, and TCP sends it again.
const RECEIVE: usize = 6;

/// Number of the device's interrupt.
pub(crate) const INTERRUPT: u32 = 12;

static WAKER: AtomicWaker = AtomicWaker::new();

#[derive(Clone, Copy)]
#[repr(C)]
struct Descriptor {
    address: u32,
    len: u32,
    next: u32,
}

/// All zeroes, so that the buffers take no flash; [`link`] fills it.
const NONE: Descriptor = Descriptor {
    address: 0,
    len: 0,
    next: 0,
};

/// The device's descriptors and buffers, to be put in a `static`.
#[repr(C, align(4))]
pub struct Buffers<const LONGEST: usize = FRAME> {
    receive: [Descriptor; RECEIVE],
    send: [Descriptor; 2],
    received: [[u8; LONGEST]; RECEIVE],
    sent: [u8; LONGEST],
}

impl<const LONGEST: usize> Buffers<LONGEST> {
    /// No frame is in them.
    pub const fn new() -> Self {
        Self {
            receive: [NONE; RECEIVE],
            send: [NONE; 2],
            received: [[0; LONGEST]; RECEIVE],
            sent: [0; LONGEST],
        }
    }
}

impl<const LONGEST: usize> Default for Buffers<LONGEST> {
    fn default() -> Self {
        Self::new()
    }
}

/// The Ethernet MAC.
pub struct Mac<const LONGEST: usize = FRAME> {
    receiver: Receiver<LONGEST>,
    sender: Sender<LONGEST>,
    address: [u8; 6],
}

/// The way in: a ring of descriptors, of which the device fills the empty ones in turn.
pub struct Receiver<const LONGEST: usize> {
    buffers: *mut Buffers<LONGEST>,
    next: usize,
    owner: PhantomData<&'static mut Buffers<LONGEST>>,
}

/// The way out: one frame at a time.
pub struct Sender<const LONGEST: usize> {
    buffers: *mut Buffers<LONGEST>,
    owner: PhantomData<&'static mut Buffers<LONGEST>>,
}

impl<const LONGEST: usize> Mac<LONGEST> {
    /// Takes the device into use, with this address.
    ///
    /// # Safety
    ///
    /// Nothing else uses the device.
    pub unsafe fn new(buffers: &'static mut Buffers<LONGEST>, address: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = address;
        let buffers: *mut Buffers<LONGEST> = buffers;
        link(buffers);
        write(CONFIGURATION, RESET);
        write(CONFIGURATION, 0);
        write(ADDRESS_FIRST_FOUR, u32::from_be_bytes([a, b, c, d]));
        write(ADDRESS_LAST_TWO, u32::from_be_bytes([e, f, 0, 0]));
        write(LONGEST_FRAME, LONGEST as u32);
        // SAFETY: only an address is made.
        write(RECEIVE_DESCRIPTOR, unsafe {
            (&raw const (*buffers).receive) as u32
        });
        write(CONFIGURATION, RECEIVE_AND_SEND);
        write(RECEIVE_CONTROL, ENABLE);
        let owner = PhantomData;
        Self {
            receiver: Receiver {
                buffers,
                next: 0,
                owner,
            },
            sender: Sender { buffers, owner },
            address,
        }
    }
}

/// Makes rings of the descriptors.
fn link<const LONGEST: usize>(buffers: *mut Buffers<LONGEST>) {
    // SAFETY: the memory is ours, and the device was not told of it yet.
    unsafe {
        for at in 0..RECEIVE {
            (*buffers).receive[at] = Descriptor {
                address: (&raw mut (*buffers).received[at]) as u32,
                len: EMPTY,
                next: (&raw mut (*buffers).receive[(at + 1) % RECEIVE]) as u32,
            };
        }
        // The second is always empty: it ends what is sent.
        for at in 0..2 {
            (*buffers).send[at] = Descriptor {
                address: (&raw mut (*buffers).sent) as u32,
                len: EMPTY,
                next: (&raw mut (*buffers).send[1 - at]) as u32,
            };
        }
    }
}

impl<const LONGEST: usize> Receiver<LONGEST> {
    fn len_of(&self, at: usize) -> u32 {
        // SAFETY: a place in our memory that the device writes.
        unsafe { (&raw const (*self.buffers).receive[at].len).read_volatile() }
    }

    /// Whether a frame came; if not, one that comes wakes.
    fn has_frame(&self) -> bool {
        if self.len_of(self.next) & EMPTY == 0 {
            return true;
        }
        write(INTERRUPT_MASK, CAME);
        self.len_of(self.next) & EMPTY == 0
    }

    /// Gives the frame's buffer back to the device.
    fn done(&mut self) {
        // SAFETY: the descriptor's buffer was filled, and its reader is done with it.
        unsafe {
            (&raw mut (*self.buffers).receive[self.next].len).write_volatile(EMPTY);
        }
        let emptied = self.next;
        self.next = (self.next + 1) % RECEIVE;
        write(RECEIVE_STATUS, ONE_PACKET);
        if read(RECEIVE_CONTROL) & ENABLE == 0 {
            // It stopped at the oldest frame, which is the one that was just read: the others are still full.
            write(RECEIVE_STATUS, OVERFLOW);
            // SAFETY: only an address is made.
            write(RECEIVE_DESCRIPTOR, unsafe {
                (&raw const (*self.buffers).receive[emptied]) as u32
            });
            write(RECEIVE_CONTROL, ENABLE);
        }
    }
}

impl<const LONGEST: usize> Sender<LONGEST> {
    fn is_free(&self) -> bool {
        // SAFETY: a place in our memory that the device writes.
        let len = unsafe { (&raw const (*self.buffers).send[0].len).read_volatile() };
        if len & EMPTY == 0 {
            write(INTERRUPT_MASK, CAME | SENT);
        }
        len & EMPTY != 0
    }
}

/// The interrupt: it stays off until the driver has looked.
pub extern "C" fn interrupt() {
    write(INTERRUPT_MASK, 0);
    WAKER.wake();
}

fn read(register: usize) -> u32 {
    // SAFETY: registers of a device that `Mac::new` was promised; reading has no effect.
    unsafe { ((MAC + register) as *const u32).read_volatile() }
}

fn write(register: usize, value: u32) {
    cortex_m::asm::dmb();
    // SAFETY: registers of a device that `Mac::new` was promised.
    unsafe { ((MAC + register) as *mut u32).write_volatile(value) }
}

/// A frame that came.
pub struct Received<'a, const LONGEST: usize>(&'a mut Receiver<LONGEST>);

impl<const LONGEST: usize> embassy_net_driver::RxToken for Received<'_, LONGEST> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        let at = self.0.next;
        let len = (self.0.len_of(at) & LEN) as usize;
        // SAFETY: the device filled this buffer and leaves it alone until `done`.
        let frame = unsafe { &mut (*self.0.buffers).received[at] };
        let result = read(&mut frame[..len.min(LONGEST)]);
        self.0.done();
        result
    }
}

/// Room for a frame.
pub struct Room<'a, const LONGEST: usize>(&'a mut Sender<LONGEST>);

impl<const LONGEST: usize> embassy_net_driver::TxToken for Room<'_, LONGEST> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let buffers = self.0.buffers;
        // SAFETY: the token was made when the device had sent what was in the buffer.
        let frame = unsafe { &mut (*buffers).sent };
        let result = fill(&mut frame[..len]);
        cortex_m::asm::dmb();
        write(SEND_STATUS, ONE_PACKET | UNDERRUN);
        // SAFETY: as above; the descriptor is the device's from here on.
        unsafe {
            (&raw mut (*buffers).send[0].len).write_volatile(len as u32 & LEN);
            write(SEND_DESCRIPTOR, (&raw const (*buffers).send) as u32);
        }
        write(SEND_CONTROL, ENABLE);
        result
    }
}

impl<const LONGEST: usize> Driver for Mac<LONGEST> {
    type RxToken<'a> = Received<'a, LONGEST>;
    type TxToken<'a> = Room<'a, LONGEST>;

    fn receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Option<(Received<'_, LONGEST>, Room<'_, LONGEST>)> {
        WAKER.register(context.waker());
        let can = self.receiver.has_frame() && self.sender.is_free();
        can.then_some((Received(&mut self.receiver), Room(&mut self.sender)))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Room<'_, LONGEST>> {
        WAKER.register(context.waker());
        self.sender.is_free().then_some(Room(&mut self.sender))
    }

    fn link_state(&mut self, _context: &mut Context<'_>) -> LinkState {
        // QEMU's cable is always plugged in; what its network does is seen above.
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = LONGEST.min(1514);
        capabilities.max_burst_size = Some(RECEIVE);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}
