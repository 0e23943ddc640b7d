//! People.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Timestamp};

/// A person who may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Unique on this server.
    pub name: Name,
    /// Whether this person administers the server: users, and owner of every fleet.
    pub admin: bool,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// A user to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Unique on this server.
    pub name: Name,
    /// 10 to 256 bytes.
    #[schema(min_length = 10, max_length = 256)]
    pub password: String,
    /// Whether this person administers the server.
    #[serde(default)]
    pub admin: bool,
}

/// What of a user is to change; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// A new password ends every session of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 10, max_length = 256)]
    pub password: Option<String>,
    /// The password in use; asked of everyone who changes their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<String>,
    /// Only an administrator may change this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<bool>,
}
