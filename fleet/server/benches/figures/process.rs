//! What a process costs, from `/proc`.

use std::fs;

/// Resident bytes.
pub(crate) fn memory(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}

/// Seconds of CPU, in user and system, of all threads.
pub(crate) fn cpu_s(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name in parentheses may hold spaces; fields 14 and 15 count from the process id.
    let (_, rest) = text.rsplit_once(") ").unwrap();
    let ticks = rest.split_whitespace().skip(11).take(2);
    // A hundred ticks a second on every Linux that Rust runs on.
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

/// Files that this process may have open at once.
pub(crate) fn open_files() -> u64 {
    let text = fs::read_to_string("/proc/self/limits").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
