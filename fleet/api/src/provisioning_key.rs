//! Provisioning keys: what lets a new device into a fleet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A provisioning key as it is listed: never with its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProvisioningKey {
    /// Names the key; not secret.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// How many devices it may let in.
    pub max_uses: u32,
    /// How many it has let in.
    pub uses: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When somebody revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// A provisioning key to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProvisioningKey {
    /// What it is for; at most 128 bytes.
    #[schema(max_length = 128)]
    pub label: String,
    /// How many devices it may let in: 1 to 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_uses: u32,
    /// When it stops working; at most ten years from now.
    pub expires_at: Timestamp,
}

/// A provisioning key just made; the only time its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedProvisioningKey {
    /// What goes into the devices' configuration.
    pub secret: String,
    /// The key.
    pub key: ProvisioningKey,
    /// Where and with whom microcontrollers enrol, if the server has a hub for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
}

/// The enrolment tunnel of a provisioning key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    /// Where the hub listens, `host:port`.
    pub endpoint: String,
    /// The hub's public key for this provisioning key, in hexadecimal.
    pub hub: String,
}
