//! What containers print, brought from the engine into the daemon's own logs, which are bounded and shipped to the fleet.
//!
//! A line keeps the time that the engine gives it, so a daemon that starts knows by its own log which lines it has.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;

use super::{Inner, container_name};
use crate::engine::runtime::{LogWriter, Position, Stream, read_log};
use crate::store::Record;

/// The pause before a container's output is asked for again after the engine has ended it.
const AGAIN: Duration = Duration::from_secs(1);

/// A line that the engine gave out: milliseconds since 1970, and its text.
type Printed<'a> = (u64, &'a [u8]);

/// How far a log has come: the time of its last line, and how many lines have that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    time_ms: u64,
    lines: usize,
}

/// Follows the output of an instance as long as its container runs. Must be called within a tokio runtime.
pub(super) fn follow(inner: &Arc<Inner>, record: &Record, max_bytes: u64) {
    let id = record.id();
    if inner.watch.is_followed(id) {
        return;
    }
    let folder = inner.config.logs.join(id.to_string());
    let name = container_name(record);
    let weak = Arc::downgrade(inner);
    let task = tokio::spawn(async move {
        loop {
            if let Err(error) = copy(&weak, &name, &folder, max_bytes).await {
                tracing::debug!(container = name, %error, "its output is not kept for a moment");
            }
            tokio::time::sleep(AGAIN).await;
            if !may_say_more(&weak, &name).await {
                break;
            }
        }
    });
    inner.watch.follow(id, task.abort_handle());
}

/// A container that does not run has said all that it will say until it is started.
async fn may_say_more(inner: &Weak<Inner>, name: &str) -> bool {
    let Some(inner) = inner.upgrade() else {
        return false;
    };
    match inner.inspect(name).await {
        Ok(found) => found
            .and_then(|found| found.state)
            .is_some_and(|state| state.running == Some(true) || state.restarting == Some(true)),
        // The engine is away for a moment, not the container.
        Err(_) => true,
    }
}

async fn copy(
    inner: &Weak<Inner>,
    name: &str,
    folder: &Path,
    max_bytes: u64,
) -> std::io::Result<()> {
    let known = known(folder)?;
    let mut writer = LogWriter::open(folder, max_bytes)?;
    let since = i32::try_from(known.time_ms / 1000).unwrap_or(0);
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .follow(true)
        .timestamps(true)
        .since(since)
        .build();
    let Some(docker) = inner.upgrade().map(|inner| inner.docker.clone()) else {
        return Ok(());
    };
    let mut output = docker.logs(name, Some(options));
    let mut skip = known.lines;
    while let Some(piece) = output.next().await {
        let piece = piece.map_err(std::io::Error::other)?;
        let stream = match piece {
            LogOutput::StdErr { .. } => Stream::Error,
            LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                Stream::Out
            }
        };
        let bytes = piece.into_bytes();
        for line in bytes.split(|byte| *byte == b'\n') {
            let Some((time_ms, text)) = printed(line) else {
                continue;
            };
            if time_ms < known.time_ms {
                continue;
            }
            if time_ms == known.time_ms && skip > 0 {
                skip -= 1;
                continue;
            }
            // A full disk costs lines, never the container.
            let _ = writer.write_at(time_ms, stream, text);
        }
    }
    Ok(())
}

fn known(folder: &Path) -> std::io::Result<Known> {
    let (mut known, mut at) = (Known::default(), Position::default());
    while folder.exists() {
        let (lines, next) = read_log(folder, at)?;
        for line in &lines {
            match line.time_ms == known.time_ms {
                true => known.lines += 1,
                false => {
                    known = Known {
                        time_ms: line.time_ms,
                        lines: 1,
                    }
                }
            }
        }
        if next == at {
            break;
        }
        at = next;
    }
    Ok(known)
}

/// Takes a line apart: `<time as RFC 3339 has it> <text>`.
fn printed(line: &[u8]) -> Option<Printed<'_>> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let time_ms = time_ms(std::str::from_utf8(&line[..end]).ok()?)?;
    let text = &line[end + 1..];
    Some((time_ms, text.strip_suffix(b"\r").unwrap_or(text)))
}

/// Milliseconds since 1970 of a time as Docker (`...Z`) and podman (`...+02:00`) write it.
fn time_ms(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let rest = text.get(19..)?;
    let zone = rest.find(['Z', '+', '-'])?;
    let fraction = rest[..zone].strip_prefix('.').unwrap_or("");
    let thousandth = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    let offset_min = match rest[zone..].split_at_checked(1)? {
        ("Z", _) => 0,
        (sign, offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let total = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if sign == "-" { -total } else { total }
        }
    };
    let days = days_since_1970(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute - offset_min) * 60 + second;
    u64::try_from(seconds * 1000 + thousandth).ok()
}

/// In the Gregorian calendar, counted in years that begin with March, so that a leap day ends one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_engines_are_understood() {
        assert_eq!(
            time_ms("2026-11-27T06:40:09.123456789Z"),
            Some(1_795_761_609_123)
        );
        assert_eq!(
            time_ms("2026-11-27T08:40:09.5+02:00"),
            Some(1_795_761_609_500)
        );
        assert_eq!(time_ms("2024-02-29T00:00:00Z"), Some(1_709_164_800_000));
        assert_eq!(time_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(time_ms("nonsense"), None);
    }

    #[test]
    fn a_log_says_how_far_it_has_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(known(&path).unwrap(), Known::default());
        let mut writer = LogWriter::open(&path, 1 << 20).unwrap();
        for time_ms in [1, 7, 7] {
            writer.write_at(time_ms, Stream::Out, b"x").unwrap();
        }
        let expected = Known {
            time_ms: 7,
            lines: 2,
        };
        assert_eq!(known(&path).unwrap(), expected);
    }
}
