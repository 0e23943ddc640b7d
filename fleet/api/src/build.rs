//! Builds of projects on the server: what is asked for, and how they go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Timestamp};

/// A project to be built.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBuild {
    /// The digest of the project's archive, which was uploaded to a repository of the fleet: `sha256:…`.
    pub project: String,
    /// The compose file in it; the usual names by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it is built for, 1 to 16.
    pub targets: Vec<BuildTarget>,
    /// Values for the variables that the compose file names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// A device type, and what its processor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildTarget {
    /// The device type.
    pub device_type: Name,
    /// The processor, as OCI names it: `linux/arm/v7`.
    pub platform: String,
}

/// A build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    /// Counts up in the fleet.
    pub number: u64,
    /// How far it is.
    pub state: BuildState,
    /// What it is built for.
    pub targets: Vec<BuildTarget>,
    /// Why there are no images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The images, when it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<BuiltImage>,
    /// Who asked for it.
    pub created_by: Name,
    /// When.
    pub created_at: Timestamp,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// Others are built before it.
    Waiting,
    /// It is being built.
    Building,
    /// All images are in the registry.
    Done,
    /// There are no images; `error` says why.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl BuildState {
    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_end(self) -> bool {
        match self {
            Self::Waiting | Self::Building => false,
            Self::Done | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// The image of a service, in the repository of that service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuiltImage {
    /// The device type it is for.
    pub device_type: Name,
    /// The service.
    pub service: String,
    /// The manifest's digest: `sha256:…`.
    pub digest: String,
    /// The manifest's bytes.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: String,
}

/// A line of a build's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildLine {
    /// Counts up in the build.
    pub number: u64,
    /// The device type it is built for; empty where it is about all.
    pub device_type: String,
    /// The service; empty where it is about all.
    pub service: String,
    /// The line.
    pub line: String,
}

/// One event of the log of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum BuildEvent {
    /// A line.
    Line(BuildLine),
    /// The last: how it ended.
    Ended(Build),
}
