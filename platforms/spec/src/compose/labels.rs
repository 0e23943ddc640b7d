//! Labels, and what balena says with them.
//!
//! Labels under `io.balena.` and the older `io.resin.` are instructions, and so are those under
//! `io.lightship.features.`; the others are kept as they are.

use super::Service;
use super::environment;
use super::field::Field;
use super::quantity;
use crate::container::Feature;
use crate::problem::{Collector, nearest};
use lightship_core::target::Strategy;

/// Files with which a service holds updates off: Lightship's own, while it is locked (flock(2)), and the
/// two that balena knows, while they are there.
pub const LOCK_FILES: [&str; 3] = [
    "/run/lightship/updates.lock",
    "/tmp/balena/updates.lock",
    "/tmp/resin/resin-updates.lock",
];

/// What Lightship's own switches begin with.
const OWN: &str = "io.lightship.features.";

const STRATEGIES: [(&str, Strategy); 4] = [
    ("download-then-kill", Strategy::DownloadThenKill),
    ("kill-then-download", Strategy::KillThenDownload),
    ("delete-then-download", Strategy::DeleteThenDownload),
    ("hand-over", Strategy::HandOver),
];

const FEATURES: [(&str, Feature); 10] = [
    ("supervisor-api", Feature::BalenaApi),
    ("dbus", Feature::Dbus),
    ("sysfs", Feature::Sysfs),
    ("procfs", Feature::Procfs),
    ("kernel-modules", Feature::KernelModules),
    ("firmware", Feature::Firmware),
    ("balena-socket", Feature::EngineSocket),
    ("resin-socket", Feature::EngineSocket),
    ("gpu", Feature::Gpu),
    ("journal-logs", Feature::JournalLogs),
];

pub(crate) fn read(field: &Field<'_>, service: &mut Service, problems: &mut Collector<'_>) {
    for pair in environment::pairs(field, problems) {
        let value = pair.value.unwrap_or_default();
        let name = pair.name.as_str();
        if let Some(feature) = name.strip_prefix(OWN) {
            own(&pair.at, name, feature, &value, service, problems);
            continue;
        }
        match name
            .strip_prefix("io.balena.")
            .or_else(|| name.strip_prefix("io.resin."))
        {
            Some(instruction) => obey(&pair.at, name, instruction, &value, service, problems),
            None => {
                service.spec.labels.insert(pair.name, value);
            }
        }
    }
}

/// A feature by its own name, as `x-lightship` has it too.
fn own(
    field: &Field<'_>,
    name: &str,
    feature: &str,
    value: &str,
    service: &mut Service,
    problems: &mut Collector<'_>,
) {
    match Feature::from_name(feature) {
        Some(feature) => switch(field, name, feature, value, service, problems),
        None => {
            let help = format!("known: {}", Feature::NAMES);
            field.wrong(problems, told(field, name, "unknown feature"), &help);
        }
    }
}

fn obey(
    field: &Field<'_>,
    name: &str,
    instruction: &str,
    value: &str,
    service: &mut Service,
    problems: &mut Collector<'_>,
) {
    match instruction {
        "update.strategy" => match strategy(value) {
            Some(strategy) => service.strategy = strategy,
            None => {
                let known = STRATEGIES.map(|(name, _)| name).join(", ");
                field.wrong(
                    problems,
                    told(field, name, &format!("unknown strategy {value:?}")),
                    &format!("known: {known}"),
                );
            }
        },
        // In milliseconds, as balena has it.
        "update.handover-timeout" => match value.parse::<u32>() {
            Ok(ms) if ms > 0 => service.hand_over_timeout_ms = Some(u64::from(ms)),
            Ok(_) | Err(_) => {
                let what = told(
                    field,
                    name,
                    &format!("expected milliseconds, found {value:?}"),
                );
                field.wrong(problems, what, "");
            }
        },
        other => match other.strip_prefix("features.") {
            Some("balena-api" | "resin-api") => {
                let help = "remove it; use the label io.balena.features.supervisor-api or x-lightship features: [local-api]";
                field.wrong(
                    problems,
                    told(field, name, "there is no balena cloud"),
                    help,
                );
            }
            Some(feature) => enable(field, name, feature, value, service, problems),
            None => unknown(
                field,
                name,
                &["update.strategy", "update.handover-timeout"],
                problems,
            ),
        },
    }
}

pub(crate) fn strategy(text: &str) -> Option<Strategy> {
    STRATEGIES
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, strategy)| *strategy)
}

fn enable(
    field: &Field<'_>,
    name: &str,
    feature: &str,
    value: &str,
    service: &mut Service,
    problems: &mut Collector<'_>,
) {
    let Some((_, feature)) = FEATURES.iter().find(|(known, _)| *known == feature) else {
        let known = FEATURES.map(|(name, _)| name);
        unknown(field, name, &known, problems);
        return;
    };
    switch(field, name, *feature, value, service, problems);
}

fn switch(
    field: &Field<'_>,
    name: &str,
    feature: Feature,
    value: &str,
    service: &mut Service,
    problems: &mut Collector<'_>,
) {
    match value {
        "1" | "true" => {
            service.spec.features.insert(feature);
        }
        "0" | "false" | "" => {}
        other => {
            let what = told(
                field,
                name,
                &format!("expected \"1\" or \"0\", found {other:?}"),
            );
            field.wrong(problems, what, "");
        }
    }
}

fn unknown(field: &Field<'_>, name: &str, known: &[&str], problems: &mut Collector<'_>) {
    let last = name.rsplit_once("features.").map_or(name, |(_, last)| last);
    let help = match nearest(last, known.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("known: {}", known.join(", ")),
    };
    field.wrong(
        problems,
        told(field, name, "unknown instruction of balena"),
        &help,
    );
}

/// In a list of labels the path has only a number, so the message says the name.
fn told(field: &Field<'_>, name: &str, what: &str) -> String {
    if field.path.ends_with(name) {
        return what.to_owned();
    }
    format!("{name}: {what}")
}

/// Seconds for the core, from a duration; rounded up.
pub(crate) fn seconds(text: &str) -> Option<u16> {
    u16::try_from(quantity::duration_ms(text)?.div_ceil(1000)).ok()
}
