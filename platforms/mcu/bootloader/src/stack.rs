//! How deep the stack went: what was never used still has its paint.

const PAINT: u32 = 0x5AFE_57AC;
/// Bytes below the caller's frame that are left alone: `paint` itself needs some.
const MARGIN: usize = 256;

/// A stack that grows down from `top` to `bottom`.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    bottom: usize,
    top: usize,
}

impl Stack {
    /// The stack between two addresses.
    ///
    /// # Safety
    ///
    /// The range is this program's stack and nothing else.
    pub const unsafe fn between(bottom: usize, top: usize) -> Self {
        Self { bottom, top }
    }

    /// Paints what lies below the caller; first thing in `main`.
    pub fn paint(self) {
        let here = 0u32;
        let from = self.bottom.next_multiple_of(4);
        let to = (&raw const here as usize).saturating_sub(MARGIN);
        for at in (from..to).step_by(4) {
            // SAFETY: it is stack that no frame uses: below this one, with a margin.
            unsafe { (at as *mut u32).write_volatile(PAINT) }
        }
    }

    /// The most bytes that were used since.
    pub fn used(self) -> usize {
        let from = self.bottom.next_multiple_of(4);
        let untouched = (from..self.top).step_by(4).take_while(|at| {
            // SAFETY: it is this program's stack, which is RAM.
            unsafe { (*at as *const u32).read_volatile() == PAINT }
        });
        self.top - from - 4 * untouched.count()
    }
}
