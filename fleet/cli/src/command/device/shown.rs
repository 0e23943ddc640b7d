//! Devices as people read them.

use lightship_api::{Device, Metrics, Transport};

use crate::output::{or_dash, sheet, table};

/// One line a device.
pub(super) fn list(all: &[Device]) -> String {
    let rows = all.iter().map(|device| {
        vec![
            device.uuid.clone(),
            device.name.clone(),
            device.device_type.to_string(),
            if device.online { "online" } else { "offline" }.to_owned(),
            or_dash(device.target),
            or_dash(device.running_release),
            or_dash(device.state.as_ref()),
        ]
    });
    table(
        &["UUID", "NAME", "TYPE", "", "RELEASE", "RUNS", "STATE"],
        &rows.collect::<Vec<_>>(),
    )
}

/// The release that a device runs, by number and version, or else by digest.
fn runs(device: &Device) -> String {
    let version = device.running_version.as_ref();
    match (device.running_release, version, &device.running) {
        (Some(number), Some(version), _) => format!("release {number} ({version})"),
        (Some(number), None, _) => format!("release {number}"),
        (None, Some(version), Some(digest)) => format!("{version} ({digest})"),
        (None, None, Some(digest)) => digest.clone(),
        (None, _, None) => String::new(),
    }
}

/// Everything about one device.
pub(super) fn describe(device: &Device) -> String {
    let tags: Vec<String> = device
        .tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let release = |number: Option<u64>| number.map(|number| format!("release {number}"));
    let mut lines = vec![
        ("uuid", device.uuid.clone()),
        ("name", device.name.clone()),
        ("fleet", device.fleet.to_string()),
        ("type", device.device_type.to_string()),
        ("tags", tags.join(" ")),
        (
            "connected",
            match (device.online, device.transport) {
                (false, _) => "no",
                (true, None) => "yes",
                (true, Some(Transport::Mqtt)) => "over MQTT",
                (true, Some(Transport::Https)) => "over HTTPS",
            }
            .to_owned(),
        ),
        ("told to run", text(release(device.target))),
        ("pinned to", text(release(device.pinned))),
        ("runs", runs(device)),
        ("state", text(device.state.as_ref())),
        ("windows", windows(device)),
        ("update locks", locks(device).to_owned()),
        ("last seen", text(device.last_seen_at)),
        ("last handshake", text(device.last_handshake_at)),
    ];
    lines.push(("API key since", text(device.api_key_changed_at)));
    lines.push(("tunnel key since", text(device.tunnel_key_changed_at)));
    lines.extend(measured(&device.metrics));
    lines.push(("measured", text(device.metrics_at)));
    lines.push(("registered", text(device.registered_at)));
    sheet(&lines)
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn windows(device: &Device) -> String {
    let windows = match device.windows.as_deref() {
        None => String::new(),
        Some([]) => "at any time".to_owned(),
        Some(windows) => windows.join(", "),
    };
    match &device.zone {
        Some(zone) if windows.is_empty() => format!("the fleet's, in {zone}"),
        Some(zone) => format!("{windows} {zone}"),
        None => windows,
    }
}

fn locks(device: &Device) -> &'static str {
    if device.locks_overridden {
        "overridden"
    } else {
        ""
    }
}

fn measured(metrics: &Metrics) -> [(&'static str, String); 9] {
    let load = metrics.cpu_percent.map(|percent| format!("{percent:.1} %"));
    let degrees = metrics
        .temperature_c
        .map(|degrees| format!("{degrees:.1} C"));
    [
        ("architecture", text(metrics.architecture.as_ref())),
        ("system", text(metrics.os.as_ref())),
        ("kernel", text(metrics.kernel.as_ref())),
        ("agent", text(metrics.agent.as_ref())),
        ("load", text(load)),
        (
            "memory",
            used(metrics.memory_used_bytes, metrics.memory_total_bytes),
        ),
        (
            "disk",
            used(metrics.disk_used_bytes, metrics.disk_total_bytes),
        ),
        ("temperature", text(degrees)),
        ("up for", text(metrics.uptime_s.map(duration))),
    ]
}

fn used(used: Option<u64>, all: Option<u64>) -> String {
    match (used, all) {
        (Some(used), Some(all)) => format!("{} of {} MiB", used >> 20, all >> 20),
        (Some(used), None) => format!("{} MiB", used >> 20),
        (None, Some(all)) => format!("of {} MiB", all >> 20),
        (None, None) => String::new(),
    }
}

/// Days, hours and minutes: nobody wants to read the seconds.
fn duration(seconds: u64) -> String {
    let minutes = seconds / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_long_as_people_read() {
        assert_eq!(duration(59), "0 min");
        assert_eq!(duration(3 * 3600 + 61), "3 h 1 min");
        assert_eq!(duration(86_400 * 40 + 3600), "40 d 1 h");
    }
}
