//! Variables: what a fleet or a device fills into the specs that a publisher signed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A named value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What it is called: a letter or underscore, then letters, digits, underscores; at most 128.
    #[schema(max_length = 128)]
    pub name: String,
    /// What it is used for.
    #[serde(default)]
    pub kind: VariableKind,
    /// The service it is for; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// At most 16 KiB.
    #[schema(max_length = 16_384)]
    pub value: String,
}

/// What a variable is used for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum VariableKind {
    /// Seen by the application.
    #[default]
    Environment,
    /// Read by the agent.
    Configuration,
}
