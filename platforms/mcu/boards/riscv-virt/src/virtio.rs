//! Virtio devices behind memory-mapped registers: what the network card and the random source share.
//!
//! Virtio 1.1, sections 2.6 (split queues) and 4.2 (the MMIO transport), the modern interface alone.
//! Each descriptor has one buffer of its own for good, so there is no free list and no allocation.
//! `virtio-drivers` is not used: it takes whole pages for its queues, 16 KB for a network card.

use core::marker::PhantomData;

const FIRST: usize = 0x1000_1000;
const STRIDE: usize = 0x1000;
const PLACES: usize = 8;

const MAGIC: usize = 0x000;
const VERSION: usize = 0x004;
const DEVICE_ID: usize = 0x008;
const DEVICE_FEATURES: usize = 0x010;
const DEVICE_FEATURES_SELECT: usize = 0x014;
const DRIVER_FEATURES: usize = 0x020;
const DRIVER_FEATURES_SELECT: usize = 0x024;
const QUEUE_SELECT: usize = 0x030;
const QUEUE_LEN_MOST: usize = 0x034;
const QUEUE_LEN: usize = 0x038;
const QUEUE_READY: usize = 0x044;
const QUEUE_NOTIFY: usize = 0x050;
const INTERRUPT_STATUS: usize = 0x060;
const INTERRUPT_DONE: usize = 0x064;
const STATUS: usize = 0x070;
const QUEUE_DESCRIPTORS: usize = 0x080;
const QUEUE_AVAILABLE: usize = 0x090;
const QUEUE_USED: usize = 0x0A0;
const CONFIGURATION: usize = 0x100;

const MAGIC_VALUE: u32 = 0x7472_6976;
const MODERN: u32 = 2;
const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
/// Bit 32: the modern interface.
const VERSION_1: u32 = 1;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A network card.
    Network = 1,
    /// A source of random numbers.
    Random = 4,
}

/// The registers of one of the places for devices.
#[derive(Clone, Copy, Debug)]
struct Registers(usize);

impl Registers {
    fn is(self, kind: Kind) -> bool {
        self.read(MAGIC) == MAGIC_VALUE
            && self.read(VERSION) == MODERN
            && self.read(DEVICE_ID) == kind as u32
    }

    fn agree(self, half: u32, wanted: u32) {
        self.write(DEVICE_FEATURES_SELECT, half);
        let offered = self.read(DEVICE_FEATURES);
        self.write(DRIVER_FEATURES_SELECT, half);
        self.write(DRIVER_FEATURES, offered & wanted);
    }

    fn address(self, register: usize, address: usize) {
        self.write(register, address as u32);
        self.write(register + 4, 0);
    }

    fn read(self, register: usize) -> u32 {
        // SAFETY: the registers of all places exist on this machine, and reading has no effect.
        unsafe { ((self.0 + register) as *const u32).read_volatile() }
    }

    fn write(self, register: usize, value: u32) {
        // SAFETY: `Device::open` was promised that the device is ours.
        unsafe { ((self.0 + register) as *mut u32).write_volatile(value) }
    }
}

/// A device that was found, and is ours.
#[derive(Debug)]
pub struct Device(Registers);

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// QEMU was not given this device, or not with its modern interface.
    Absent,
    /// It does not take the features or the queue that the driver asks for.
    Refused,
}

impl Device {
    /// Finds a device, resets it, and agrees on `features` of its low 32 feature bits.
    ///
    /// # Safety
    ///
    /// This is QEMU's `virt`, and nothing else uses the device while this exists.
    pub unsafe fn open(kind: Kind, features: u32) -> Result<Self, Error> {
        let device = (0..PLACES)
            .map(|place| Registers(FIRST + place * STRIDE))
            .find(|place| place.is(kind))
            .map(Self)
            .ok_or(Error::Absent)?;
        device.0.write(STATUS, 0);
        device.0.write(STATUS, ACKNOWLEDGE | DRIVER);
        device.0.agree(0, features);
        device.0.agree(1, VERSION_1);
        device.0.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if device.0.read(STATUS) & FEATURES_OK == 0 {
            return Err(Error::Refused);
        }
        Ok(device)
    }

    /// Has the device use a queue. Its buffers come after [`Device::start`].
    ///
    /// # Errors
    ///
    /// If the device has no such queue or not one of this length.
    pub fn queue<const N: usize, const LEN: usize>(
        &self,
        number: u32,
        memory: &'static mut Memory<N, LEN>,
    ) -> Result<Queue<N, LEN>, Error> {
        const { assert!(N.is_power_of_two() && N <= 32) };
        self.0.write(QUEUE_SELECT, number);
        if (self.0.read(QUEUE_LEN_MOST) as usize) < N || self.0.read(QUEUE_READY) != 0 {
            return Err(Error::Refused);
        }
        self.0.write(QUEUE_LEN, N as u32);
        let place = |part: *const u8| part as usize;
        self.0.address(
            QUEUE_DESCRIPTORS,
            place((&raw const memory.descriptors).cast()),
        );
        self.0
            .address(QUEUE_AVAILABLE, place((&raw const memory.available).cast()));
        self.0
            .address(QUEUE_USED, place((&raw const memory.used).cast()));
        self.0.write(QUEUE_READY, 1);
        Ok(Queue {
            memory,
            notify: (self.0.0 + QUEUE_NOTIFY) as *mut u32,
            number,
            given: 0,
            taken: 0,
            outside: 0,
            owner: PhantomData,
        })
    }

    /// The device may work from here on.
    pub fn start(&self) {
        self.0
            .write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// A byte of the device's configuration.
    pub fn configuration(&self, at: usize) -> u8 {
        // SAFETY: `open` was promised that the device is ours; this is inside its registers.
        unsafe { ((self.0.0 + CONFIGURATION + at) as *const u8).read_volatile() }
    }

    /// The number of the device's interrupt at the PLIC.
    pub fn interrupt(&self) -> u32 {
        ((self.0.0 - FIRST) / STRIDE) as u32 + 1
    }
}

impl Drop for Device {
    /// A device that was reset writes nowhere any more.
    fn drop(&mut self) {
        self.0.write(STATUS, 0);
    }
}

/// Tells the device with this interrupt that it was seen.
pub(crate) fn acknowledge(interrupt: u32) {
    let device = FIRST + (interrupt as usize - 1) * STRIDE;
    // SAFETY: the caller was given the number by the PLIC: there is such a device, and these two
    // registers are the interrupt's alone.
    unsafe {
        let pending = ((device + INTERRUPT_STATUS) as *const u32).read_volatile();
        ((device + INTERRUPT_DONE) as *mut u32).write_volatile(pending);
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Descriptor {
    address: u32,
    address_high: u32,
    len: u32,
    flags: u16,
    next: u16,
}

#[repr(C, align(4))]
struct Available<const N: usize> {
    flags: u16,
    index: u16,
    ring: [u16; N],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct UsedElement {
    id: u32,
    len: u32,
}

#[repr(C, align(4))]
struct Used<const N: usize> {
    flags: u16,
    index: u16,
    ring: [UsedElement; N],
}

/// A queue's memory: what the device reads and writes on its own.
#[repr(C, align(16))]
pub struct Memory<const N: usize, const LEN: usize> {
    descriptors: [Descriptor; N],
    available: Available<N>,
    used: Used<N>,
    buffers: [[u8; LEN]; N],
}

impl<const N: usize, const LEN: usize> Memory<N, LEN> {
    /// Memory for a queue, to be put in a `static`.
    pub const fn new() -> Self {
        let empty = Descriptor {
            address: 0,
            address_high: 0,
            len: 0,
            flags: 0,
            next: 0,
        };
        Self {
            descriptors: [empty; N],
            available: Available {
                flags: 0,
                index: 0,
                ring: [0; N],
            },
            used: Used {
                flags: 0,
                index: 0,
                ring: [UsedElement { id: 0, len: 0 }; N],
            },
            buffers: [[0; LEN]; N],
        }
    }
}

impl<const N: usize, const LEN: usize> Default for Memory<N, LEN> {
    fn default() -> Self {
        Self::new()
    }
}

/// A queue of buffers that go to the device and come back.
///
/// A buffer is the device's between [`give`](Queue::give) and [`take`](Queue::take), and ours the
/// rest of the time; only then is there a reference to it.
pub struct Queue<const N: usize, const LEN: usize> {
    memory: *mut Memory<N, LEN>,
    notify: *mut u32,
    number: u32,
    given: u16,
    taken: u16,
    /// Buffers that the device has, a bit for each.
    outside: u32,
    owner: PhantomData<&'static mut Memory<N, LEN>>,
}

impl<const N: usize, const LEN: usize> Queue<N, LEN> {
    /// A buffer that is ours, if there is one.
    pub fn spare(&self) -> Option<u16> {
        (0..N as u16).find(|number| self.outside & 1 << number == 0)
    }

    /// A buffer that is ours.
    ///
    /// # Panics
    ///
    /// If the device has it.
    pub fn buffer(&mut self, number: u16) -> &mut [u8; LEN] {
        assert!(self.outside & 1 << number == 0, "the device has the buffer");
        // SAFETY: the device does not touch a buffer that it does not have.
        unsafe { &mut (*self.memory).buffers[usize::from(number)] }
    }

    /// Gives the first `len` bytes of a buffer to the device, which then reads or fills them.
    ///
    /// # Panics
    ///
    /// If the device has it already.
    pub fn give(&mut self, number: u16, len: usize, way: Way) {
        let address = self.buffer(number).as_mut_ptr() as u32;
        let descriptor = Descriptor {
            address,
            address_high: 0,
            len: len.min(LEN) as u32,
            flags: way as u16,
            next: 0,
        };
        self.outside |= 1 << number;
        let (at, place) = (usize::from(number), usize::from(self.given) % N);
        self.given = self.given.wrapping_add(1);
        // SAFETY: places inside the queue's memory, of which the device writes `used` alone, and
        // the queue's own register.
        unsafe {
            let memory = self.memory;
            (&raw mut (*memory).descriptors[at]).write_volatile(descriptor);
            (&raw mut (*memory).available.ring[place]).write_volatile(number);
            barrier();
            (&raw mut (*memory).available.index).write_volatile(self.given);
            barrier();
            self.notify.write_volatile(self.number);
        }
    }

    /// A buffer that came back, and how many of its bytes the device filled.
    pub fn take(&mut self) -> Option<(u16, usize)> {
        let place = usize::from(self.taken) % N;
        // SAFETY: places inside the queue's memory that the device writes.
        let element = unsafe {
            if (&raw const (*self.memory).used.index).read_volatile() == self.taken {
                return None;
            }
            barrier();
            (&raw const (*self.memory).used.ring[place]).read_volatile()
        };
        self.taken = self.taken.wrapping_add(1);
        // A device that gives back what it does not have is not believed.
        let number = (element.id < N as u32).then_some(element.id as u16)?;
        let had = self.outside & 1 << number != 0;
        self.outside &= !(1 << number);
        had.then_some((number, (element.len as usize).min(LEN)))
    }
}

/// What the device does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Way {
    /// It reads what is in it.
    Reads = 0,
    /// It fills it.
    Fills = 2,
}

/// Orders what is in memory and what is in devices, as the other side sees it.
fn barrier() {
    // SAFETY: a fence changes nothing.
    unsafe { core::arch::asm!("fence iorw, iorw") };
}
