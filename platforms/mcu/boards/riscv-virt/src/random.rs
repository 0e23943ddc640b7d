//! The random source: virtio-entropy, which passes on the host's.
//!
//! Virtio 1.1, section 5.4.

use lightship_mcu::agent::NoEntropy;

use crate::virtio::{Device, Error, Kind, Memory, Queue, Way};

const BUFFER: usize = 64;
/// Looks at the queue before the source counts as broken: far more than an answer takes.
const MOST_LOOKS: u32 = 100_000_000;

/// The source's queue, to be put in a `static`.
pub type Buffers = Memory<1, BUFFER>;

/// The source.
pub struct Random {
    _device: Device,
    queue: Queue<1, BUFFER>,
}

/// The source gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Random {
    /// Takes the source into use.
    ///
    /// # Errors
    ///
    /// If QEMU was not given one.
    ///
    /// # Safety
    ///
    /// Nothing else uses the source.
    pub unsafe fn new(buffers: &'static mut Buffers) -> Result<Self, Error> {
        // SAFETY: passed on to our caller.
        let device = unsafe { Device::open(Kind::Random, 0)? };
        let queue = device.queue(0, buffers)?;
        device.start();
        Ok(Self {
            _device: device,
            queue,
        })
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    ///
    /// If the source gives nothing; `bytes` are then not to be used.
    pub fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Broken> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let got = self.some(rest)?;
            rest = &mut rest[got..];
        }
        Ok(())
    }

    fn some(&mut self, bytes: &mut [u8]) -> Result<usize, Broken> {
        let wanted = bytes.len().min(BUFFER);
        // A source that once did not answer in time is not asked again: it may answer yet.
        self.queue.spare().ok_or(Broken)?;
        self.queue.give(0, wanted, Way::Fills);
        let mut looks = 0..MOST_LOOKS;
        let (_, filled) = looks.find_map(|_| self.queue.take()).ok_or(Broken)?;
        if filled == 0 || filled > wanted {
            return Err(Broken);
        }
        let buffer = self.queue.buffer(0);
        bytes[..filled].copy_from_slice(&buffer[..filled]);
        // What was handed out is kept nowhere.
        buffer.fill(0);
        Ok(filled)
    }
}

/// Where the agent's randomness comes from.
pub type Source = Random;

pub(crate) fn fill(source: &mut Source, bytes: &mut [u8]) -> Result<(), NoEntropy> {
    source.fill(bytes).map_err(|_| NoEntropy)
}
