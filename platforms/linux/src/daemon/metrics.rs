//! What the device is made of and how it does: looked at when the fleet is reached, once an hour while it is, and when somebody asks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::senders::Senders;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(3600);
/// A connection that is new says it again no sooner than this.
const LEAST: Duration = Duration::from_secs(600);
/// Whoever asks is answered no sooner than this after the last time.
const LEAST_ASKED: Duration = Duration::from_secs(5);
/// Time over which the load is measured, so that connecting itself does not count for all of it.
const LOAD: Duration = Duration::from_secs(2);
/// Longest text.
const WORD_BYTES: usize = 128;

/// As the fleet takes it; what cannot be known is left out.
#[derive(Debug, Default, Serialize)]
struct Metrics {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature_c: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_s: Option<u64>,
    architecture: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    kernel: String,
    agent: &'static str,
}

/// Says it for ever; poll it beside the driver.
pub(super) async fn tell(
    mut senders: Senders,
    data: PathBuf,
    mut online: watch::Receiver<bool>,
    asked: Arc<Notify>,
) -> std::convert::Infallible {
    let mut last: Option<Instant> = None;
    loop {
        if online.wait_for(|online| *online).await.is_err() {
            std::future::pending::<()>().await;
        }
        let due = |least| last.map_or_else(Instant::now, |last| last + least);
        tokio::select! {
            () = tokio::time::sleep_until(due(LEAST)) => {}
            () = asked.notified() => tokio::time::sleep_until(due(LEAST_ASKED)).await,
        }
        let before = ticks();
        tokio::time::sleep(LOAD).await;
        let metrics = take(&data, before);
        if let Ok(json) = serde_json::to_vec(&metrics)
            && let Err(failure) = senders.metrics(json).await
        {
            tracing::debug!(%failure, "the fleet did not hear how this device does");
        }
        last = Some(Instant::now());
        let again = tokio::time::sleep(PERIOD);
        tokio::select! {
            () = again => {}
            () = asked.notified() => asked.notify_one(),
            // A fleet that comes back may have heard nothing for long.
            _ = online.wait_for(|online| !*online) => {}
        }
    }
}

fn take(data: &Path, before: Option<(u64, u64)>) -> Metrics {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = field_kib(&memory, "MemTotal:");
    let available = field_kib(&memory, "MemAvailable:");
    let disk = rustix::fs::statvfs(data).ok();
    let name = rustix::system::uname();
    Metrics {
        cpu_percent: before.zip(ticks()).and_then(|(a, b)| load(a, b)),
        memory_used_bytes: total
            .zip(available)
            .map(|(total, free)| total.saturating_sub(free)),
        memory_total_bytes: total,
        disk_used_bytes: disk
            .as_ref()
            .map(|disk| disk.f_blocks.saturating_sub(disk.f_bfree) * disk.f_frsize),
        disk_total_bytes: disk.map(|disk| disk.f_blocks * disk.f_frsize),
        temperature_c: temperature(Path::new("/sys/class/thermal")),
        uptime_s: fs::read_to_string("/proc/uptime")
            .ok()
            .and_then(|text| text.split('.').next()?.parse().ok()),
        architecture: architecture(),
        os: fs::read_to_string("/etc/os-release")
            .ok()
            .and_then(|text| pretty(&text)),
        kernel: short(&name.release().to_string_lossy()),
        agent: env!("CARGO_PKG_VERSION"),
    }
}

/// As OCI names it.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

/// Busy and all ticks of all processors since the start.
fn ticks() -> Option<(u64, u64)> {
    busy(&fs::read_to_string("/proc/stat").ok()?)
}

fn busy(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal (proc(5)); guests count within user.
    let values: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let all: u64 = values.iter().sum();
    let idle = values.get(3)? + values.get(4)?;
    Some((all - idle, all))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of some seconds are far below 2^52"
)]
fn load(before: (u64, u64), after: (u64, u64)) -> Option<f64> {
    let all = after.1.checked_sub(before.1).filter(|all| *all > 0)?;
    let busy = after.0.saturating_sub(before.0);
    Some((busy as f64 * 1000.0 / all as f64).round().min(1000.0) / 10.0)
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// The hottest of what the kernel knows.
fn temperature(zones: &Path) -> Option<f64> {
    let zones = fs::read_dir(zones).ok()?.flatten();
    let read = |zone: fs::DirEntry| {
        let text = fs::read_to_string(zone.path().join("temp")).ok()?;
        text.trim().parse::<i32>().ok()
    };
    let hottest = zones.filter_map(read).max()?;
    Some(f64::from(hottest) / 1000.0).filter(|celsius| (-273.0..1000.0).contains(celsius))
}

fn pretty(os_release: &str) -> Option<String> {
    let name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(short(name.trim_matches('"')))
}

fn short(text: &str) -> String {
    let plain = text.chars().filter(|character| !character.is_control());
    let mut text: String = plain.collect();
    text.truncate(text.floor_char_boundary(WORD_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_it_writes_them() {
        let stat = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n";
        assert_eq!(busy(stat), Some((150, 1000)));
        assert_eq!(load((150, 1000), (200, 1200)), Some(25.0));
        assert_eq!(load((150, 1000), (150, 1000)), None);
        let memory = "MemTotal:        500 kB\nMemFree: 1 kB\nMemAvailable:    200 kB\n";
        assert_eq!(field_kib(memory, "MemAvailable:"), Some(204_800));
        assert_eq!(
            pretty("ID=x\nPRETTY_NAME=\"A \u{7}B\"\n").as_deref(),
            Some("A B")
        );
    }

    #[test]
    fn this_machine_is_made_of_something() {
        let metrics = take(Path::new("/"), None);
        assert!(metrics.memory_total_bytes > metrics.memory_used_bytes);
        assert!(metrics.disk_total_bytes > Some(0) && metrics.uptime_s.is_some());
        assert!(!metrics.kernel.is_empty());
    }
}
