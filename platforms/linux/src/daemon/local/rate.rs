//! How often one asker may ask.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Requests that may come at once.
const BURST: f64 = 30.0;
/// Requests a second in the long run.
const PER_SECOND: f64 = 10.0;
/// Askers that are told apart; a device has no more services.
const ASKERS: usize = 64;

/// A bucket of requests for each asker.
#[derive(Debug, Default)]
pub(super) struct Rates(RefCell<BTreeMap<String, (f64, Instant)>>);

impl Rates {
    /// Takes one request out of an asker's bucket; whether there was one.
    pub(super) fn take(&self, asker: &str, now: Instant) -> bool {
        let mut buckets = self.0.borrow_mut();
        if buckets.len() >= ASKERS && !buckets.contains_key(asker) {
            buckets.retain(|_, (left, at)| refilled(*left, *at, now) < BURST);
            if buckets.len() >= ASKERS {
                return false;
            }
        }
        let (left, at) = buckets.entry(asker.to_owned()).or_insert((BURST, now));
        *left = refilled(*left, *at, now);
        *at = now;
        let granted = *left >= 1.0;
        if granted {
            *left -= 1.0;
        }
        granted
    }
}

fn refilled(left: f64, at: Instant, now: Instant) -> f64 {
    let seconds = now.saturating_duration_since(at).as_secs_f64();
    (left + seconds * PER_SECOND).min(BURST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_granted_then_so_many_a_second_and_others_do_not_notice() {
        let rates = Rates::default();
        let start = Instant::now();
        let granted = (0..100).filter(|_| rates.take("a", start)).count();
        assert_eq!(granted, 30);
        assert!(rates.take("b", start));
        let later = start + Duration::from_secs(1);
        let granted = (0..100).filter(|_| rates.take("a", later)).count();
        assert_eq!(granted, 10);
    }
}
