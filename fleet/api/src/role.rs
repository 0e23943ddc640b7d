//! Who may do what: roles on fleets, and the scopes that narrow a token.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::Name;

/// What a person may do in one fleet; each role includes those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything but secrets.
    Viewer,
    /// Works with devices: names, tags, pins, commands, tunnels, provisioning keys, roll-outs.
    Operator,
    /// Pushes images, uploads releases, sets variables.
    Developer,
    /// Decides on members, trust roots and the fleet itself.
    Owner,
}

/// The most a token may do: `viewer`, `developer:harbour`, or `admin` for the server itself.
///
/// A token never exceeds its user: what it may do is the lesser of the two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything, users included.
    Admin,
    /// A role in every fleet of the user.
    Everywhere(Role),
    /// A role in one fleet.
    In(Role, Name),
}

impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.description(Some(
            "`admin`, or a role, optionally followed by a colon and a fleet.",
        ))
        .examples(["developer:harbour"])
        .into()
    }
}

impl ToSchema for Scope {}

/// Why a scope is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadScope;

impl Role {
    /// The word that stands for the role.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::Owner => "owner",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        let all = [Self::Viewer, Self::Operator, Self::Developer, Self::Owner];
        all.into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(BadScope)
    }
}

impl Scope {
    /// The role this scope gives in `fleet`, if any.
    #[must_use]
    pub fn role_in(&self, fleet: &Name) -> Option<Role> {
        match self {
            Self::Admin => Some(Role::Owner),
            Self::Everywhere(role) => Some(*role),
            Self::In(role, only) => (only == fleet).then_some(*role),
        }
    }

    /// Whether everything `other` allows is allowed by this scope too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Admin, _) => true,
            (_, Self::Admin) => false,
            (Self::Everywhere(mine), Self::Everywhere(role) | Self::In(role, _)) => mine >= role,
            (Self::In(..), Self::Everywhere(_)) => false,
            (Self::In(mine, here), Self::In(role, there)) => mine >= role && here == there,
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = BadScope;

    fn try_from(text: String) -> Result<Self, BadScope> {
        match text.split_once(':') {
            None if text == "admin" => Ok(Self::Admin),
            None => text.parse().map(Self::Everywhere),
            Some((role, fleet)) => Ok(Self::In(
                role.parse()?,
                fleet.parse().map_err(|_| BadScope)?,
            )),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Admin => "admin".to_owned(),
            Scope::Everywhere(role) => role.as_str().to_owned(),
            Scope::In(role, fleet) => format!("{}:{fleet}", role.as_str()),
        }
    }
}

impl std::fmt::Display for BadScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("expected admin, or viewer, operator, developer or owner, optionally followed by a colon and a fleet")
    }
}

impl std::error::Error for BadScope {}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_scope_covers_what_it_gives_and_no_more() {
        assert!(scope("admin").covers(&scope("owner")));
        assert!(scope("developer").covers(&scope("viewer:a")));
        assert!(scope("developer:a").covers(&scope("developer:a")));
        assert!(!scope("developer:a").covers(&scope("viewer:b")));
        assert!(!scope("developer:a").covers(&scope("viewer")));
        assert!(!scope("owner").covers(&scope("admin")));
        assert_eq!(scope("operator:a").role_in(&"b".parse().unwrap()), None);
        assert_eq!(Scope::try_from("root".to_owned()), Err(BadScope));
    }
}
