//! Paints the stack, runs a program and counts the paint that is gone.
//!
//! This is the one place around the core with unsafe code: it looks at memory that Rust does not own,
//! between the end of the statics and the stack pointer, and traps to the debugger (Arm semihosting 2.0).

use core::arch::asm;
use core::fmt::{self, Write};

const PAINT: u32 = 0xC5C5_C5C5;
/// Words left alone below the stack pointer: the frame of the painter itself.
const OWN_WORDS: usize = 64;

unsafe extern "C" {
    /// End of the statics; cortex-m-rt's linker script defines it.
    static mut __sheap: u32;
}

/// Runs `program` and ends the simulation, successfully if it returned `true`.
pub fn run(program: impl FnOnce() -> bool) -> ! {
    let top = stack_pointer();
    paint(top);
    let is_well = program();
    let deepest = deepest(top);
    let mut line = Line::default();
    // A line of 64 bytes has room for two words and a number.
    let _ = write!(line, "stack {deepest}\n\0");
    trap(0x04, line.bytes.as_ptr() as usize);
    end(is_well)
}

/// Ends the simulation.
pub fn end(is_well: bool) -> ! {
    // ADP_Stopped_ApplicationExit, or ADP_Stopped_RunTimeErrorUnknown.
    trap(0x18, if is_well { 0x20026 } else { 0x20023 });
    loop {
        core::hint::spin_loop();
    }
}

#[inline(never)]
fn paint(top: usize) {
    let (mut at, end) = (bottom(), top - 4 * OWN_WORDS);
    while at < end {
        // SAFETY: between the statics and our own frame nothing lives.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
        at += 4;
    }
}

#[inline(never)]
fn deepest(top: usize) -> usize {
    let mut at = bottom();
    // SAFETY: as above; only reads.
    while at < top && unsafe { (at as *const u32).read_volatile() } == PAINT {
        at += 4;
    }
    top - at
}

fn bottom() -> usize {
    (&raw const __sheap) as usize
}

fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack)) };
    pointer
}

fn trap(operation: usize, argument: usize) {
    // SAFETY: the debugger only reads what `argument` points to.
    unsafe { asm!("bkpt 0xab", inout("r0") operation => _, in("r1") argument, options(nostack)) };
}

struct Line {
    bytes: [u8; 64],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; 64],
            length: 0,
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let free = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        free.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
