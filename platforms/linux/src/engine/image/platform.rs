//! What an image runs on, in the names of the OCI image specification.

use std::fmt;

use serde::Deserialize;

/// Operating system, architecture and variant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Platform {
    /// A Linux platform.
    pub fn new(architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// What a document says.
    pub(super) fn named(os: String, architecture: String, variant: Option<String>) -> Self {
        Self {
            os,
            architecture,
            variant,
        }
    }

    /// What this program was built for.
    pub fn host() -> Self {
        match std::env::consts::ARCH {
            "x86_64" => Self::new("amd64", None),
            "x86" => Self::new("386", None),
            "aarch64" => Self::new("arm64", Some("v8")),
            "arm" => Self::new("arm", Some("v7")),
            other => Self::new(other, None),
        }
    }

    /// How well this device runs an image made for `other`: 0 is best, absent is not at all.
    pub fn rank(&self, other: &Self) -> Option<u32> {
        if other.os != self.os {
            return None;
        }
        match (self.architecture.as_str(), other.architecture.as_str()) {
            ("arm", "arm") => self.arm_version()?.checked_sub(other.arm_version()?),
            ("arm64", "arm64") => Some(0),
            // A 64-bit ARM of this design's boards runs 32-bit programs; its own are better.
            ("arm64", "arm") => 10_u32.checked_sub(other.arm_version()?),
            (own, its) => (own == its).then_some(0),
        }
    }

    fn arm_version(&self) -> Option<u32> {
        match self.variant.as_deref() {
            Some("v5") => Some(5),
            Some("v6") => Some(6),
            Some("v7") | None => Some(7),
            Some("v8") => Some(8),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}
