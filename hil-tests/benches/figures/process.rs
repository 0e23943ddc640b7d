//! What processes cost, from `/proc`.

use std::fs;
use std::iter::Sum;

/// Of one process, or of several together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Proportional set size, in bytes: a page that so many share counts for its part in each.
    pub(crate) pss: f64,
    /// CPU in user and system, of all threads and of children that have ended, in seconds.
    pub(crate) cpu_s: f64,
}

impl Cost {
    pub(crate) fn of(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name in parentheses may hold spaces; fields 14 to 17 count from the process id.
        let (_, rest) = text.rsplit_once(") ").unwrap();
        let ticks = rest.split_whitespace().skip(11).take(4);
        let ticks: f64 = ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum();
        // A hundred ticks a second on every Linux that Rust runs on.
        Self {
            pss: kib * 1024.0,
            cpu_s: ticks / 100.0,
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            pss: sum.pss + one.pss,
            cpu_s: sum.cpu_s + one.cpu_s,
        })
    }
}
