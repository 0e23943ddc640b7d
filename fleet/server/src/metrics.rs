//! What the server counts, in Prometheus' text format.
//!
//! Kept in the server and not in a global registry: two servers in one process count apart.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency buckets, in milliseconds.
const BUCKETS_MS: [u64; 8] = [1, 5, 25, 100, 500, 2_500, 10_000, 60_000];

/// All counters of one server.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), Latency>>,
    /// Devices connected to the broker.
    pub(crate) devices_online: AtomicI64,
    /// Registrations that made a device.
    pub(crate) registrations: AtomicU64,
    /// Target polls answered from the counter alone.
    pub(crate) polls_unchanged: AtomicU64,
    /// Reports stored.
    pub(crate) reports: AtomicU64,
    /// Log lines stored.
    pub(crate) log_lines: AtomicU64,
    /// Assignments signed.
    pub(crate) assignments: AtomicU64,
    /// Wrong credentials of devices.
    pub(crate) refused_devices: AtomicU64,
}

#[derive(Clone, Default)]
struct Latency {
    buckets: [u64; BUCKETS_MS.len()],
    count: u64,
    sum_us: u64,
}

impl Metrics {
    /// Counts one answered request.
    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let latency = requests.entry((route.to_owned(), status)).or_default();
        latency.count += 1;
        latency.sum_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 1_000_000);
        for (bucket, bound_ms) in latency.buckets.iter_mut().zip(BUCKETS_MS) {
            *bucket += u64::from(took <= Duration::from_millis(bound_ms));
        }
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let requests = self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        head(
            &mut out,
            "lightship_http_request_seconds",
            "histogram",
            "Time that a request took until its answer began.",
        );
        for ((route, status), latency) in requests {
            latency.write(&mut out, &format!("route=\"{route}\",status=\"{status}\""));
        }
        let online = self.devices_online.load(Ordering::Relaxed);
        let name = "lightship_devices_online";
        head(
            &mut out,
            name,
            "gauge",
            "Devices that are connected to the broker.",
        );
        line(&mut out, format_args!("{name} {online}"));
        for (name, help, counter) in self.counters() {
            head(&mut out, name, "counter", help);
            let value = counter.load(Ordering::Relaxed);
            line(&mut out, format_args!("{name} {value}"));
        }
        out
    }

    fn counters(&self) -> [(&'static str, &'static str, &AtomicU64); 6] {
        [
            (
                "lightship_registrations_total",
                "Registrations that made a device.",
                &self.registrations,
            ),
            (
                "lightship_polls_unchanged_total",
                "Questions for news that were answered from the counter alone.",
                &self.polls_unchanged,
            ),
            (
                "lightship_reports_total",
                "Reports of devices that were stored.",
                &self.reports,
            ),
            (
                "lightship_log_lines_total",
                "Log lines of devices that were stored.",
                &self.log_lines,
            ),
            (
                "lightship_assignments_total",
                "Assignments that were signed.",
                &self.assignments,
            ),
            (
                "lightship_refused_devices_total",
                "Wrong credentials that were shown for a device.",
                &self.refused_devices,
            ),
        ]
    }
}

impl Latency {
    fn write(&self, out: &mut String, labels: &str) {
        let name = "lightship_http_request_seconds";
        for (bucket, bound_ms) in self.buckets.iter().zip(BUCKETS_MS) {
            let bound = Duration::from_millis(bound_ms).as_secs_f64();
            line(
                out,
                format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}"),
            );
        }
        line(
            out,
            format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count),
        );
        let sum = Duration::from_micros(self.sum_us).as_secs_f64();
        line(
            out,
            format_args!(
                "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {}",
                self.count
            ),
        );
    }
}

/// What stands before the samples of a name.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_every_bucket_that_holds_it() {
        let metrics = Metrics::default();
        metrics.request("/x", 200, Duration::from_millis(7));
        let text = metrics.text();
        assert!(
            text.contains("route=\"/x\",status=\"200\",le=\"0.005\"} 0"),
            "{text}"
        );
        assert!(
            text.contains("route=\"/x\",status=\"200\",le=\"0.025\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("lightship_http_request_seconds_count{route=\"/x\",status=\"200\"} 1"),
            "{text}"
        );
    }
}
