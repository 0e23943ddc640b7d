#![doc = include_str!("../README.md")]
#![no_std]

use core::cell::{Cell, UnsafeCell};
use critical_section::{Mutex, RestoreState};
use defmt::Encoder;

/// Takes encoded bytes, with interrupts off: it must not wait for an interrupt, and must not log.
pub type Sink = fn(&[u8]);

static SINK: Mutex<Cell<Option<Sink>>> = Mutex::new(Cell::new(None));

/// From now on frames go to `sink`.
pub fn start(sink: Sink) {
    critical_section::with(|section| SINK.borrow(section).set(Some(sink)));
}

#[defmt::global_logger]
struct Logger;

/// A frame that is being written.
struct Frame {
    encoder: Encoder,
    restore: RestoreState,
    sink: Option<Sink>,
    is_open: bool,
}

struct Place(UnsafeCell<Frame>);

// SAFETY: it is reached with interrupts off alone.
unsafe impl Sync for Place {}

static FRAME: Place = Place(UnsafeCell::new(Frame {
    encoder: Encoder::new(),
    restore: RestoreState::invalid(),
    sink: None,
    is_open: false,
}));

impl Frame {
    fn put(&mut self, bytes: &[u8]) {
        let sink = self.sink;
        self.encoder.write(bytes, |bytes| pass(sink, bytes));
    }
}

fn pass(sink: Option<Sink>, bytes: &[u8]) {
    if let Some(sink) = sink {
        sink(bytes);
    }
}

// SAFETY: interrupts are off between `acquire` and `release`, and one frame is open at a time.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        // SAFETY: undone in `release`, which defmt calls after it.
        let restore = unsafe { critical_section::acquire() };
        // SAFETY: interrupts are off; the reference ends with this function.
        let frame = unsafe { &mut *FRAME.0.get() };
        assert!(!frame.is_open, "something that is being logged logs");
        frame.is_open = true;
        frame.restore = restore;
        critical_section::with(|section| frame.sink = SINK.borrow(section).get());
        let sink = frame.sink;
        frame.encoder.start_frame(|bytes| pass(sink, bytes));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: as in `acquire`, which defmt called before it.
        let frame = unsafe { &mut *FRAME.0.get() };
        let sink = frame.sink;
        frame.encoder.end_frame(|bytes| pass(sink, bytes));
        frame.is_open = false;
        // SAFETY: of the `acquire` before it.
        unsafe { critical_section::release(frame.restore) };
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: as in `release`.
        unsafe { (*FRAME.0.get()).put(bytes) };
    }
}
