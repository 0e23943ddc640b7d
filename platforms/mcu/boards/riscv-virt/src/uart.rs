//! The NS16550A, polled: where the board's programs speak.

use core::fmt;

/// The serial port.
#[derive(Clone, Copy, Debug)]
pub struct Uart;

const DATA: *mut u8 = 0x1000_0000 as *mut u8;
const LINE_STATUS: *const u8 = 0x1000_0005 as *const u8;
const TRANSMITTER_READY: u8 = 0x20;

/// Sends bytes, and waits until the port has taken them.
pub fn send(bytes: &[u8]) {
    for byte in bytes {
        // SAFETY: the port's registers, of which one program at a time is the owner.
        unsafe {
            while LINE_STATUS.read_volatile() & TRANSMITTER_READY == 0 {}
            DATA.write_volatile(*byte);
        }
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        send(text.as_bytes());
        Ok(())
    }
}
