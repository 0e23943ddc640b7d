//! The executor's time as the driver's clock.

use embassy_time::Timer;
use lightship_core::time::Instant;
use lightship_driver::Clock;

/// Time since boot, by embassy-time.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        Instant::from_millis(embassy_time::Instant::now().as_millis())
    }

    async fn sleep_until(&self, moment: Instant) {
        Timer::at(embassy_time::Instant::from_millis(moment.as_millis())).await;
    }
}
