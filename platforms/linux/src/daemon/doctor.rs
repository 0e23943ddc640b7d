//! `lightshipd doctor`: looks at everything that the daemon needs, and says of each thing that is not as it
//! should be what to do, in one sentence.

mod kernel;
mod server;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Config;
use super::config::{ConfigError, EngineKind};
use super::status::Status;

/// Below this an update may fail for want of room.
const FREE_BYTES: u64 = 512 * 1024 * 1024;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The daemon does without, or something will fail later.
    Warning,
    /// The daemon cannot do what it is for.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; nothing where it is good.
    pub advice: Option<String>,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Good,
            found: found.into(),
            advice: None,
        }
    }

    fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self {
            what,
            verdict: Verdict::Warning,
            found: found.into(),
            advice,
        }
    }

    fn bad(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Bad,
            ..Self::warning(what, found, advice)
        }
    }
}

/// All findings of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// In the order in which they were looked for.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// The worst verdict.
    pub fn worst(&self) -> Verdict {
        let verdicts = self.findings.iter().map(|finding| finding.verdict);
        verdicts.max().unwrap_or(Verdict::Good)
    }

    /// For programs.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For people: a line for each finding, and below it what to do.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.verdict {
                Verdict::Good => "ok  ",
                Verdict::Warning => "WARN",
                Verdict::Bad => "BAD ",
            };
            text += &format!("{mark} {:<14} {}\n", finding.what, finding.found);
            if let Some(advice) = &finding.advice {
                text += &format!("     {:<14} -> {advice}\n", "");
            }
        }
        text
    }
}

/// Looks at everything. Must be called within a tokio runtime.
pub async fn examine(path: &Path) -> Diagnosis {
    let mut findings = Vec::new();
    match Config::load(path) {
        Err(error) => findings.push(configuration(&error)),
        Ok(config) => {
            let found = format!(
                "{} is a {} that runs {}",
                path.display(),
                config.device_type,
                config.product
            );
            findings.push(Finding::good("configuration", found));
            findings.push(secrecy(&config));
            findings.extend(daemon(&config));
            findings.push(space(&config));
            findings.push(clock(&config));
            findings.extend(server::look(&config).await);
            match config.engine {
                EngineKind::Builtin => findings.extend(kernel::containers()),
                EngineKind::Docker => findings.push(engine(&config)),
                EngineKind::None => {}
            }
        }
    }
    findings.extend(kernel::tunnel());
    Diagnosis { findings }
}

fn configuration(error: &ConfigError) -> Finding {
    let advice = match error {
        ConfigError::Read { .. } => {
            "make the file with `lightship config` and copy it there, readable by root"
        }
        ConfigError::Wrong { .. } => {
            "correct the line, or make the file again with `lightship config`"
        }
    };
    Finding::bad("configuration", error.to_string(), advice)
}

fn secrecy(config: &Config) -> Finding {
    use std::os::unix::fs::MetadataExt as _;
    let mode = fs::metadata(&config.path).map_or(0, |metadata| metadata.mode());
    if config.provisioning_key.is_some() && mode & 0o077 != 0 {
        let found = format!(
            "{} holds a provisioning key and others may read it ({:o})",
            config.path.display(),
            mode & 0o777
        );
        let advice = format!("close it: chmod 600 {}", config.path.display());
        return Finding::warning("secrets", found, advice);
    }
    Finding::good("secrets", "only its owner reads what must stay secret")
}

fn daemon(config: &Config) -> Vec<Finding> {
    let status = match Status::ask(config) {
        Ok(status) => status,
        Err(error) => {
            let advice = "look at its log: journalctl -u lightshipd";
            return vec![Finding::bad("daemon", error.to_string(), advice)];
        }
    };
    let Some(daemon) = &status.daemon else {
        let advice = "start it: systemctl enable --now lightshipd";
        return vec![Finding::warning("daemon", "does not run", advice)];
    };
    let mut findings = vec![Finding::good(
        "daemon",
        format!("{} runs as process {}", daemon.version, daemon.process),
    )];
    findings.push(if !status.device.is_registered {
        let advice = "see below whether the server can be reached, and whether the provisioning key is still valid: lightship keys list";
        Finding::warning("registration", "the fleet has not confirmed this device", advice)
    } else if status.connection.is_up {
        Finding::good("connection", "up")
    } else {
        let why = status.connection.failure.unwrap_or_else(|| "not tried yet".to_owned());
        Finding::warning("connection", format!("down: {why}"), "see below whether the server can be reached; the device runs on meanwhile")
    });
    findings
}

fn space(config: &Config) -> Finding {
    let place = config
        .data
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(place) else {
        return Finding::bad(
            "disk",
            format!("{} cannot be looked at", place.display()),
            "run this as root",
        );
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} MB free for {}", free / 1_000_000, config.data.display());
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let advice = "mount it for writing, or set `data` to a folder that is";
        return Finding::bad(
            "disk",
            format!("{} is mounted read-only", place.display()),
            advice,
        );
    }
    if free < FREE_BYTES {
        let advice = "make room: an update needs room for the new images beside the old ones";
        return Finding::warning("disk", found, advice);
    }
    Finding::good("disk", found)
}

fn engine(config: &Config) -> Finding {
    let socket = config.engine_socket.display();
    match std::os::unix::net::UnixStream::connect(&config.engine_socket) {
        Ok(_) => Finding::good("engine", format!("answers at {socket}")),
        Err(error) => Finding::bad(
            "engine",
            format!("{socket}: {error}"),
            "start it (systemctl start docker), set `engine_socket` to where it is, or use `engine = \"builtin\"`",
        ),
    }
}

fn clock(config: &Config) -> Finding {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    if now < config.root.issued.0 {
        let advice = "set the clock (timedatectl set-ntp true): until then certificates of the server are refused as not yet valid";
        return Finding::bad(
            "clock",
            "is behind the day on which the fleet's root was signed",
            advice,
        );
    }
    if now > config.root.expires.0 {
        let advice = "set the clock if it is wrong; otherwise the fleet's owner must sign a new root: lightship keys";
        return Finding::warning(
            "clock",
            "is past the day on which the root in the configuration expires",
            advice,
        );
    }
    Finding::good(
        "clock",
        "is later than the fleet's root and earlier than its end",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_counts_and_every_one_that_is_not_good_says_what_to_do() {
        let findings = vec![
            Finding::good("a", "fine"),
            Finding::bad("b", "broken", "mend it"),
            Finding::warning("c", "odd", "look at it"),
        ];
        let diagnosis = Diagnosis { findings };
        assert_eq!(diagnosis.worst(), Verdict::Bad);
        let text = diagnosis.text();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(
            text.contains("BAD  b") && text.contains("-> mend it"),
            "{text}"
        );
        assert_eq!(
            Diagnosis {
                findings: Vec::new()
            }
            .worst(),
            Verdict::Good
        );
    }
}
