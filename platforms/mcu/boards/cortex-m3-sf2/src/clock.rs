//! Time since the start, for embassy-time: SysTick counts it, the first MSS timer wakes.
//!
//! SysTick runs freely over its 24 bits at 142 MHz / 32 and interrupts where it begins again, every
//! 3.8 s; that interrupt looks at the watchdog. An alarm that comes early is armed again, so that the
//! timer's rate need not be exact: QEMU's runs at 100 MHz where the chip's would at 71.

use core::cell::{Cell, RefCell};
use core::task::Waker;
use cortex_m::peripheral::{SCB, SYST};
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::watchdog;

const LAST: u64 = 0xFF_FFFF;
/// 142 MHz / 32 are 71 cycles in 16 microseconds.
const CYCLES: u64 = 71;
const TICKS: u64 = 16;

const TIMER: usize = 0x4000_4000;
const LOAD: usize = 0x04;
const CONTROL: usize = 0x0C;
const RAW_INTERRUPT: usize = 0x10;
const ENABLE_ONE_SHOT_INTERRUPT: u32 = 0b111;
/// Cycles of the timer in a microsecond: of the slower of the two rates.
const TIMER_CYCLES: u64 = 71;
const TIMER_MOST: u64 = u32::MAX as u64 / TIMER_CYCLES;

/// Number of the timer's interrupt.
pub(crate) const INTERRUPT: u32 = 14;

struct Clock {
    turns: Mutex<Cell<u64>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock {
    turns: Mutex::new(Cell::new(0)),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Clock {
    /// Until the next alarm is in the future.
    fn arm(&self, section: CriticalSection<'_>) {
        let mut queue = self.queue.borrow(section).borrow_mut();
        let now = now(section);
        let next = queue.next_expiration(now);
        if next == u64::MAX {
            return;
        }
        let wait = next.saturating_sub(now).clamp(1, TIMER_MOST);
        timer(CONTROL, 0);
        timer(LOAD, (wait * TIMER_CYCLES) as u32);
        timer(RAW_INTERRUPT, 1);
        timer(CONTROL, ENABLE_ONE_SHOT_INTERRUPT);
    }
}

impl Driver for Clock {
    fn now(&self) -> u64 {
        critical_section::with(now)
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

/// Microseconds; a turn whose interrupt waits is counted.
fn now(section: CriticalSection<'_>) -> u64 {
    let (mut turns, mut left) = (CLOCK.turns.borrow(section).get(), left());
    if SCB::is_pendst_pending() {
        turns += 1;
        left = self::left();
    }
    (turns * (LAST + 1) + (LAST - left)) * TICKS / CYCLES
}

fn left() -> u64 {
    u64::from(SYST::get_current())
}

/// Starts the clock and its interrupts.
pub fn start() {
    // SAFETY: the clock alone uses SysTick, and its handlers' data is behind critical sections.
    unsafe {
        let system = &*SYST::PTR;
        system.rvr.write(LAST as u32);
        system.cvr.write(0);
        // Enabled, with interrupt, on the reference clock.
        system.csr.write(0b011);
    }
    crate::interrupts::enable(INTERRUPT);
}

fn timer(register: usize, value: u32) {
    // SAFETY: registers of the first MSS timer, which the clock alone uses.
    unsafe { ((TIMER + register) as *mut u32).write_volatile(value) }
}

/// The timer's interrupt.
pub extern "C" fn alarm() {
    timer(RAW_INTERRUPT, 1);
    critical_section::with(|section| CLOCK.arm(section));
}

/// SysTick's interrupt.
pub fn turned() {
    let now = critical_section::with(|section| {
        let turns = CLOCK.turns.borrow(section);
        turns.set(turns.get() + 1);
        now(section)
    });
    watchdog::look(now);
}
