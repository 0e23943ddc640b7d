//! A watchdog in software: QEMU models none here.
//!
//! The timer's interrupt resets the machine when the firmware has not fed the watchdog in time.
//! It therefore catches a firmware that hangs, and not one that hangs with interrupts off; a real
//! board uses its hardware's.

use core::cell::Cell;
use critical_section::Mutex;

use crate::Cause;
use crate::power::{self, LastWords};

const NEVER: u64 = u64::MAX;

static DEADLINE: Mutex<Cell<u64>> = Mutex::new(Cell::new(NEVER));

/// Starts the watchdog, or feeds it: the machine is reset in `patience_ms` unless it is fed again.
pub fn feed(patience_ms: u32) {
    let ticks = u64::from(patience_ms) * embassy_time_driver::TICK_HZ / 1000;
    let deadline = embassy_time_driver::now() + ticks;
    critical_section::with(|section| DEADLINE.borrow(section).set(deadline));
}

/// Looks whether it was fed in time.
pub(crate) fn look(now: u64) {
    let deadline = critical_section::with(|section| DEADLINE.borrow(section).get());
    if now >= deadline {
        power::reset_because(&LastWords::new(Cause::Watchdog).and("not fed in time"));
    }
}
