//! Releases and roll-outs as people read them.

use lightship_api::{Release as Shown, ReleaseState, Rollout, RolloutPhase, WaveWho};

use crate::output::{or_dash, sheet, table};

fn state(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::Draft => "draft",
        ReleaseState::Final => "final",
        ReleaseState::Invalid => "invalid",
    }
}

pub(super) fn phase(phase: RolloutPhase) -> &'static str {
    match phase {
        RolloutPhase::Planned => "planned",
        RolloutPhase::Running => "running",
        RolloutPhase::Paused => "paused",
        RolloutPhase::Halted => "halted",
        RolloutPhase::Aborted => "aborted",
        RolloutPhase::Completed => "completed",
    }
}

pub(super) fn list(all: &[Shown]) -> String {
    let rows = all.iter().map(|release| {
        let types: Vec<&str> = release
            .documents
            .iter()
            .map(|document| document.device_type.as_str())
            .collect();
        vec![
            release.number.to_string(),
            release.version.clone(),
            state(release.state).to_owned(),
            types.join(" "),
            release.created_at.to_string(),
            or_dash(release.reason.as_ref()),
        ]
    });
    table(
        &[
            "RELEASE",
            "VERSION",
            "STATE",
            "DEVICE TYPES",
            "UPLOADED",
            "REASON",
        ],
        &rows.collect::<Vec<_>>(),
    )
}

pub(crate) fn describe(release: &Shown) -> String {
    let mut text = sheet(&[
        ("release", release.number.to_string()),
        ("version", release.version.clone()),
        ("state", state(release.state).to_owned()),
        ("reason", release.reason.clone().unwrap_or_default()),
        (
            "uploaded",
            format!("{} by {}", release.created_at, release.created_by),
        ),
    ]);
    for document in &release.documents {
        text.push('\n');
        text.push_str(&sheet(&[
            ("device type", document.device_type.to_string()),
            ("document", document.digest.clone()),
            (
                "security version",
                format!("{}, floor {}", document.security_version, document.floor),
            ),
            ("components", document.components.join(" ")),
        ]));
    }
    text
}

pub(super) fn describe_rollout(rollout: &Rollout) -> String {
    let rows = rollout.waves.iter().map(|wave| {
        let who = match &wave.who {
            WaveWho::Percent { percent } => format!("{percent}%"),
            WaveWho::Tag {
                key,
                value: Some(value),
            } => format!("{key}={value}"),
            WaveWho::Tag { key, value: None } => key.clone(),
        };
        let soak = format!("{} s", wave.soak_s);
        vec![
            who,
            soak,
            wave.waiting.to_string(),
            wave.told.to_string(),
            wave.succeeded.to_string(),
            wave.failed.to_string(),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    format!(
        "release {} is {}\n{}",
        rollout.release,
        phase(rollout.phase),
        table(
            &["WAVE", "SOAK", "WAITING", "TOLD", "SUCCEEDED", "FAILED"],
            &rows
        )
    )
}
