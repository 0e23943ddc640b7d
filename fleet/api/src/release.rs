//! Releases: signed by their publisher, stored and handed out by the server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Timestamp};

/// A release of a fleet: one signed document for each device type it supports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Counts up within the fleet and names the release.
    pub number: u64,
    /// What people call it.
    pub version: String,
    /// Whether it is handed out.
    pub state: ReleaseState,
    /// Why it was invalidated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its publisher signed.
    pub documents: Vec<ReleaseDocument>,
    /// Who uploaded it.
    pub created_by: Name,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// What the publisher signed for one device type, as far as people want to see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseDocument {
    /// SHA-256 of the signed payload, in hexadecimal: what assignments and reports name.
    pub digest: String,
    /// What it runs on.
    pub device_type: Name,
    /// Compared with the floor of each device.
    pub security_version: u32,
    /// What devices that committed it accept at least from then on.
    pub floor: u32,
    /// The names of its components, in order.
    pub components: Vec<String>,
}

/// Whether a release is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseState {
    /// Only to devices pinned to it.
    Draft,
    /// To every device that follows the fleet.
    Final,
    /// To no device any more.
    Invalid,
}

/// A release to be uploaded; its artifacts and specs are there already.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// The signed documents, base64, one for each device type; 1 to 64.
    #[schema(min_items = 1, max_items = 64)]
    pub documents: Vec<String>,
    /// Keep it from devices that follow the fleet until it is finalized.
    #[serde(default)]
    pub draft: bool,
}

/// Why a release is not to be handed out any more.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invalidation {
    /// 1 to 256 bytes, shown wherever the release is.
    #[schema(min_length = 1, max_length = 256)]
    pub reason: String,
}

/// One version of a fleet's trust root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Root {
    /// Version 1 is what devices are provisioned with.
    pub version: u64,
    /// The signed document, base64.
    pub document: String,
    /// Who uploaded it.
    pub created_by: Name,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// The next version of a fleet's trust root.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoot {
    /// The signed document, base64; signed by the previous version's threshold and its own.
    #[schema(max_length = 65_536)]
    pub document: String,
}

/// The key that the fleet's trust root has to name as director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectorKey {
    /// Ed25519, in hexadecimal.
    pub public_key: String,
}
