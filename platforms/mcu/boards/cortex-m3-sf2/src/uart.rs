//! MMUART0, polled: where the board's programs speak.

use core::fmt;

/// The serial port.
#[derive(Clone, Copy, Debug)]
pub struct Uart;

const DATA: *mut u32 = 0x4000_0000 as *mut u32;
const LINE_STATUS: *const u32 = 0x4000_0014 as *const u32;
const TRANSMITTER_READY: u32 = 0x20;

/// Sends bytes, and waits until the port has taken them.
pub fn send(bytes: &[u8]) {
    for byte in bytes {
        // SAFETY: the port's registers, of which one program at a time is the owner.
        unsafe {
            while LINE_STATUS.read_volatile() & TRANSMITTER_READY == 0 {}
            DATA.write_volatile(u32::from(*byte));
        }
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        send(text.as_bytes());
        Ok(())
    }
}
