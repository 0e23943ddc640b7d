//! A device's time that passes when nobody has anything else to do.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use lightship_core::time::Instant;
use lightship_driver::Clock;

/// Nothing of a test takes longer, in milliseconds of the device.
const PATIENCE_MS: u64 = 3_600_000;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Time(Rc<Cell<u64>>);

impl Clock for Time {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.get())
    }

    async fn sleep_until(&self, moment: Instant) {
        let mut looks = 0;
        poll_fn(|cx| {
            looks += 1;
            if self.now() < moment && looks > 3 {
                self.0.set(moment.as_millis());
            }
            assert!(self.0.get() < PATIENCE_MS, "it comes to no end");
            if self.now() >= moment {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}
