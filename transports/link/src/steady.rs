//! One waker for a future's whole life, whatever executor polls it.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Waker};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

/// Whoever polls at present.
struct Relay(Mutex<Waker>);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present = present.clone();
        // Not under the lock: waking may poll at once.
        present.wake();
    }
}

/// Polls `future` with a waker that is known for the same at each poll.
///
/// What `embassy-sync` offers wakes the waker it had when it is given another one, for that may be
/// another task's. An executor need not give the same one twice, and [`Waker::will_wake`] need not
/// see that two are the same: tokio's `block_on`, compiled into several units, gives a task that
/// waits for two things at once no rest. An agent's loop is therefore to run in here.
pub async fn steady<F: Future>(future: F) -> F::Output {
    let relay = Arc::new(Relay(Mutex::new(Waker::noop().clone())));
    let waker = Waker::from(Arc::clone(&relay));
    let mut future = pin!(future);
    poll_fn(|outer| {
        let mut present = relay.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.clone_from(outer.waker());
        drop(present);
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

#[cfg(test)]
mod tests {
    use core::pin::Pin;
    use core::sync::atomic::{AtomicBool, Ordering};

    use embassy_futures::join::join;
    use embassy_futures::yield_now;
    use embassy_sync::blocking_mutex::raw::NoopRawMutex;
    use embassy_sync::signal::Signal;

    use super::*;

    struct Fresh(Arc<AtomicBool>);

    impl Wake for Fresh {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// How often a future is polled until nobody wakes it, by an executor that never gives a waker twice.
    fn polls(mut future: Pin<&mut impl Future>) -> usize {
        let woken = Arc::new(AtomicBool::new(true));
        let mut polls = 0;
        while woken.swap(false, Ordering::Relaxed) && polls < 100 {
            polls += 1;
            let waker = Waker::from(Arc::new(Fresh(Arc::clone(&woken))));
            let turn = future.as_mut().poll(&mut Context::from_waker(&waker));
            if turn.is_ready() {
                break;
            }
        }
        polls
    }

    #[test]
    fn who_waits_has_rest_whatever_wakers_there_are() {
        let signal = Signal::<NoopRawMutex, ()>::new();
        // It is polled once more while it waits, as when a timer beside it is due.
        let twice = || join(signal.wait(), yield_now());
        assert_eq!(
            polls(pin!(twice())),
            100,
            "there is nothing to mend any more"
        );
        assert_eq!(polls(pin!(steady(twice()))), 2);
    }
}
