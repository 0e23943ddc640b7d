//! The key of the tunnel hub.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The public keys of the tunnel hub, in hexadecimal.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HubKey {
    /// The one that devices are told.
    pub key: String,
    /// The one before, as long as devices may still use it.
    pub former: Option<String>,
    /// Devices that have not used the new one yet.
    pub behind: u64,
}

/// How the hub's key is replaced.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HubKeyRotation {
    /// Seconds over which devices are told, so that they do not all come back at once.
    #[serde(default)]
    #[schema(maximum = 2678400)]
    pub over_s: u32,
}
