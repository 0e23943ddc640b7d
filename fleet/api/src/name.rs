//! Names that people choose for fleets, users and device types.
//!
//! A name is also a path segment, a registry repository component and an MQTT-safe word, so the
//! narrowest of those grammars is the rule: `[a-z0-9]([a-z0-9_-]*[a-z0-9])?`, at most 32 bytes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A checked name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "harbour", pattern = "^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$", max_length = 32)]
pub struct Name(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl Name {
    /// The most bytes a name may have: as many as the core gives it.
    pub const MAX_LEN: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| !matches!(byte, b'-' | b'_'));
        let bytes = text.as_bytes();
        let inner = bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        let whole = inner && edge(bytes.first().copied()) && edge(bytes.last().copied());
        if whole && bytes.len() <= Self::MAX_LEN {
            Ok(Self(text))
        } else {
            Err(BadName)
        }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl std::str::FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        text.to_owned().try_into()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for BadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name has 1 to 32 lower-case letters, digits, hyphens or underscores and begins and ends with a letter or digit")
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_dns_label_in_lower_case() {
        for good in ["a", "harbour-7", "0"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let long = "a".repeat(33);
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "a+", "é", &long] {
            assert_eq!(bad.parse::<Name>(), Err(BadName), "{bad}");
        }
    }
}
