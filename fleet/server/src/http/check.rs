//! Bounds on what people write, each refused with the field that breaks it.

use std::collections::BTreeMap;

use lightship_api::Timestamp;

use super::failure::{Answer, Failure};
use crate::clock;

/// The longest that a token or key may be good for: ten years.
const LONGEST_MS: i64 = 10 * 366 * 24 * 3600 * 1000;
/// At most so many bytes, and nothing that would move a terminal's cursor.
pub(crate) fn text(field: &str, value: &str, most: usize) -> Answer<()> {
    if value.len() > most {
        return Err(Failure::invalid(field, format!("at most {most} bytes")));
    }
    if value.chars().any(char::is_control) {
        return Err(Failure::invalid(field, "no control characters"));
    }
    Ok(())
}

/// Long enough to guess badly, short enough to hash.
pub(crate) fn password(field: &str, value: &str) -> Answer<()> {
    if (10..=256).contains(&value.len()) {
        Ok(())
    } else {
        Err(Failure::invalid(field, "10 to 256 bytes"))
    }
}

/// In the future, and not for ever.
pub(crate) fn expiry(field: &str, at: Timestamp) -> Answer<()> {
    let ahead = at.as_millis() - clock::now_ms();
    if ahead <= 0 {
        return Err(Failure::invalid(field, "it must lie in the future"));
    }
    if ahead > LONGEST_MS {
        return Err(Failure::invalid(field, "at most ten years from now"));
    }
    Ok(())
}

/// Tags of one device.
const TAGS: usize = 32;
/// Bytes of a tag's key, and of its value.
const TAG_LEN: usize = 128;

/// Not too many, not too long.
pub(crate) fn tags(field: &str, tags: &BTreeMap<String, String>) -> Answer<()> {
    if tags.len() > TAGS {
        return Err(Failure::invalid(field, format!("at most {TAGS} tags")));
    }
    for (key, value) in tags {
        text(&format!("{field}.{key}"), key, TAG_LEN)?;
        text(&format!("{field}.{key}"), value, TAG_LEN)?;
    }
    Ok(())
}

/// Maintenance windows that the director can read, and not too many.
pub(crate) fn windows(field: &str, windows: &[String]) -> Answer<()> {
    let most = lightship_director::limits::WINDOWS;
    if windows.len() > most {
        return Err(Failure::invalid(field, format!("at most {most} windows")));
    }
    for (position, window) in windows.iter().enumerate() {
        let parsed = window.parse::<lightship_director::Window>();
        parsed.map_err(|bad| Failure::invalid(format!("{field}[{position}]"), bad.to_string()))?;
    }
    Ok(())
}

/// The name of a time zone.
pub(crate) fn zone(field: &str, zone: &str) -> Answer<()> {
    let parsed = zone.parse::<lightship_director::Zone>();
    parsed
        .map(|_| ())
        .map_err(|bad| Failure::invalid(field, bad.to_string()))
}
