//! The version a person gives a firmware; the security version is another number.

use core::{fmt, str::FromStr};

/// `major.minor.patch`, as in Semantic Versioning, without pre-releases and build metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Raised when something that worked no longer does.
    pub major: u16,
    /// Raised when something is new.
    pub minor: u16,
    /// Raised when something is mended.
    pub patch: u32,
}

/// The text is not three decimal numbers with dots between them, or one is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadVersion;

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let mut parts = text.split('.');
        let mut next = || {
            parts
                .next()
                .filter(|part| is_number(part))
                .ok_or(BadVersion)
        };
        let (major, minor, patch) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(BadVersion);
        }
        Ok(Self {
            major: major.parse().map_err(|_| BadVersion)?,
            minor: minor.parse().map_err(|_| BadVersion)?,
            patch: patch.parse().map_err(|_| BadVersion)?,
        })
    }
}

/// Rust's own parser also takes a leading `+` and leading zeros.
fn is_number(part: &str) -> bool {
    let canonical = part == "0" || !part.starts_with('0');
    canonical && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for BadVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a version is three decimal numbers with dots between them")
    }
}

impl core::error::Error for BadVersion {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for text in ["0.0.0", "1.2.3", "65535.65535.4294967295"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_not_versions() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "+1.2.3",
            "01.2.3",
            "65536.0.0",
            "1..3",
        ] {
            assert_eq!(text.parse::<Version>(), Err(BadVersion), "{text}");
        }
    }
}
