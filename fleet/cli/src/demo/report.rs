//! What the demo found out, for people as it happens and for programs at the end.

use std::time::Instant;

use lightship_api::Transport;
use serde::Serialize;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    /// Milliseconds since the demo began.
    at_ms: u64,
    /// Which device; empty for the fleet.
    device: String,
    /// What.
    what: String,
}

/// A device as it is at the end.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DeviceLine {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) transport: Option<Transport>,
    pub(super) release: Option<String>,
    pub(super) state: String,
}

/// Bytes that went to and from all devices.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Bytes {
    /// While the first release was delivered.
    pub(super) first_release: u64,
    /// While the update was.
    pub(super) update: u64,
}

/// The whole.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) devices: Vec<DeviceLine>,
    pub(super) events: Vec<Event>,
    pub(super) bytes: Bytes,
    /// What this machine does not allow, in words.
    pub(super) left_out: Vec<String>,
    #[serde(skip)]
    began: Instant,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            ok: false,
            devices: Vec::new(),
            events: Vec::new(),
            bytes: Bytes::default(),
            left_out: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Whether every device came to its end.
    pub(super) fn is_whole(&self) -> bool {
        !self.devices.is_empty()
            && self
                .devices
                .iter()
                .all(|device| device.state == "committed")
    }

    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Keeps an event, and says it to people.
    pub(super) fn event(&mut self, device: &str, what: impl Into<String>) -> String {
        let what = what.into();
        let line = format!("  {:5.1} s  {device:6} {what}", self.seconds());
        self.events.push(Event {
            at_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            device: device.to_owned(),
            what,
        });
        line
    }
}

/// Bytes as people read them.
pub(super) fn amount(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.0} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_what_programs_look_for() {
        let mut report = Report::new();
        report.event("gate", "committed 1.0.0");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["events"][0]["device"], "gate");
        assert!(json["events"][0]["at_ms"].is_u64());
        assert_eq!(json["bytes"]["first_release"], 0);
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(amount(9_999), "9999 B");
        assert_eq!(amount(1_318_952), "1319 KB");
        assert_eq!(amount(12_345_678), "12.3 MB");
    }
}
