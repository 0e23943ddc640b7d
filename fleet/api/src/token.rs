//! Logging in, and tokens for programs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Scope, Timestamp};

/// Name and password, to be exchanged for a token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: String,
}

/// A token as it is listed: never with its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Names the token; not secret.
    pub id: String,
    /// Whose token it is.
    pub user: Name,
    /// What it is for, in the user's words.
    pub label: String,
    /// The most it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// A token to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, in the user's words; at most 128 bytes.
    #[schema(max_length = 128)]
    pub label: String,
    /// The most it may do; 1 to 32, none beyond what the caller may do.
    #[schema(min_items = 1, max_items = 32)]
    pub scopes: Vec<Scope>,
    /// When it stops working; at most ten years from now.
    pub expires_at: Timestamp,
}

/// A token just made; the only time its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// What is to be sent as `Authorization: Bearer`.
    pub secret: String,
    /// The token.
    pub token: Token,
}

/// Who is calling.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user's name.
    pub name: Name,
    /// Whether the user administers the server.
    pub admin: bool,
    /// The most that the token in use may do.
    pub scopes: Vec<Scope>,
}
