//! Time since the machine started, for embassy-time: the CLINT's counter of 10 MHz, in microseconds.
//!
//! The same interrupt looks at the watchdog, so it comes once a second at least.

use core::cell::RefCell;
use core::task::Waker;
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::watchdog;

const COUNTER: *const u32 = 0x0200_BFF8 as *const u32;
const COMPARE: *mut u32 = 0x0200_4000 as *mut u32;
const PER_TICK: u64 = 10;
const LOOK_EVERY: u64 = embassy_time_driver::TICK_HZ;

struct Clock {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock {
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Clock {
    /// Until the next alarm is in the future.
    fn arm(&self, section: CriticalSection<'_>) {
        let mut queue = self.queue.borrow(section).borrow_mut();
        let now = self.now();
        let next = queue.next_expiration(now);
        compare(next.min(now + LOOK_EVERY).saturating_mul(PER_TICK));
    }
}

impl Driver for Clock {
    fn now(&self) -> u64 {
        counter() / PER_TICK
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| {
            let mut queue = self.queue.borrow(section).borrow_mut();
            if queue.schedule_wake(at, waker) {
                drop(queue);
                self.arm(section);
            }
        });
    }
}

/// Starts the alarm; before it, time is told but nothing wakes.
pub fn start() {
    critical_section::with(|section| CLOCK.arm(section));
}

/// Cycles of 10 MHz since the machine started.
pub fn counter() -> u64 {
    loop {
        // SAFETY: the counter exists on this machine, and reading it changes nothing.
        let (high, low, again) = unsafe {
            (
                COUNTER.add(1).read_volatile(),
                COUNTER.read_volatile(),
                COUNTER.add(1).read_volatile(),
            )
        };
        if high == again {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

fn compare(at: u64) {
    // SAFETY: the first hart's comparator, written in a critical section; never lower than meant
    // on the way.
    unsafe {
        COMPARE.add(1).write_volatile(u32::MAX);
        COMPARE.write_volatile(at as u32);
        COMPARE.add(1).write_volatile((at >> 32) as u32);
    }
}

#[riscv_rt::core_interrupt(riscv::interrupt::Interrupt::MachineTimer)]
fn alarm() {
    watchdog::look(CLOCK.now());
    critical_section::with(|section| CLOCK.arm(section));
}
