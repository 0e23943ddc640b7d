//! Time as the core sees it.
//!
//! The core never reads a clock.
//! [`Instant`] and [`Duration`] are monotonic and count from boot; [`UnixTime`] is wall-clock time and is only ever *told*, by an event or by a signed document.

use core::ops::{Add, Sub};
use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, Reader, Writer};

/// A point in monotonic time, in milliseconds since the device booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u64);

/// A span of monotonic time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Duration(u64);

/// Wall-clock time, in seconds since 1970-01-01T00:00:00Z without leap seconds (POSIX.1-2017, section 4.16).
///
/// Zero means "never told".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl Encode for UnixTime {
    fn encode(&self, to: &mut Writer<'_>) {
        self.0.encode(to);
    }
}

impl Decode<'_> for UnixTime {
    fn decode(from: &mut Reader<'_>) -> Self {
        Self(u64::decode(from))
    }
}

impl UnixTime {
    /// So many seconds later; saturates.
    #[inline(never)]
    pub(crate) const fn later(self, s: u64) -> Self {
        Self(self.0.saturating_add(s))
    }
}

impl Instant {
    /// The moment of boot.
    pub const BOOT: Self = Self(0);

    /// The end of time, for what never comes: nothing is later, and it stays so whatever is added.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The instant `ms` milliseconds after boot.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since boot.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, or zero when `earlier` is later: a clock that jumps back costs a delay, never a panic.
    #[inline(never)]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// A span of `s` seconds; saturates.
    #[inline(never)]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    ///
    /// Long division in base 65536, because dividing 64 bits costs a kilobyte of code on a small processor.
    pub const fn as_secs(self) -> u64 {
        let (mut seconds, mut rest, mut shift) = (0, 0, 64);
        while shift > 0 {
            shift -= 16;
            let dividend = rest << 16 | (self.0 >> shift) as u32 & 0xffff;
            seconds |= ((dividend / 1000) as u64) << shift;
            rest = dividend % 1000;
        }
        seconds
    }

    /// This span times `factor`; saturates.
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

/// The earlier of two moments, of which each may never come.
#[inline(never)]
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    // A call is smaller than the addition of two halves, and there are many.
    #[inline(never)]
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Duration {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_milliseconds_divided() {
        for ms in [0, 999, 1000, 65_535_999, 65_536_000, 1 << 40, u64::MAX] {
            assert_eq!(Duration::from_millis(ms).as_secs(), ms / 1000);
        }
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Instant::from_millis(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Instant::BOOT - end, Duration::ZERO);
        assert_eq!(Duration::from_secs(u64::MAX).times(9).as_millis(), u64::MAX);
    }
}
