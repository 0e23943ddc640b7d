//! Who calls, and what they may do.
//!
//! What a caller may do in a fleet is the lesser of the user's role there and the token's
//! scopes. A fleet in which that is nothing does not exist for the caller.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use lightship_api::{Name, Role, Scope};

use super::failure::{Answer, Failure};
use super::peer::Peer;
use crate::{App, clock, db, secret};

/// What the secrets of tokens begin with.
pub(crate) const TOKEN_KIND: &str = "lst";

/// A person, or a program that a person gave a token to.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Name,
    pub(crate) admin: bool,
    pub(crate) scopes: Vec<Scope>,
    /// The identifier of the token in use.
    pub(crate) token: String,
}

impl Caller {
    /// Who shows this secret, if it is good for anything.
    pub(crate) async fn of_secret(app: &App, secret: &str) -> Answer<Option<Self>> {
        let Some(id) = secret::id_of(secret, TOKEN_KIND) else {
            return Ok(None);
        };
        let Some(known) = db::tokens::find(&app.db, id).await? else {
            return Ok(None);
        };
        let fresh = known.token.expires_at > clock::now();
        if !(app.secrets.matches(secret, &known.secret) && fresh) {
            return Ok(None);
        }
        let token = known.token;
        Ok(Some(Self {
            user: token.user,
            admin: known.admin,
            scopes: token.scopes,
            token: token.id,
        }))
    }

    /// Somebody who showed a password.
    pub(crate) fn with_password(user: Name, admin: bool) -> Self {
        let scope = if admin {
            Scope::Admin
        } else {
            Scope::Everywhere(Role::Owner)
        };
        Self {
            user,
            admin,
            scopes: vec![scope],
            token: String::new(),
        }
    }

    /// How the caller is named in the record of changes.
    pub(crate) fn by(&self) -> String {
        format!("user:{}", self.user)
    }

    /// Whether the caller administers the server.
    pub(crate) fn is_admin(&self) -> bool {
        self.admin && self.scopes.contains(&Scope::Admin)
    }

    /// Refuses whoever does not administer the server.
    pub(crate) fn require_admin(&self) -> Answer<()> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(Failure::forbidden("only administrators may do this"))
        }
    }

    /// The role in a fleet, if it exists for the caller.
    pub(crate) async fn role_in(&self, app: &App, fleet: &Name) -> Answer<Option<Role>> {
        let most = self
            .scopes
            .iter()
            .filter_map(|scope| scope.role_in(fleet))
            .max();
        let standing = if self.admin {
            db::fleets::find(&app.db, fleet).await?.map(|_| Role::Owner)
        } else {
            db::members::find(&app.db, fleet, &self.user).await?
        };
        Ok(standing
            .zip(most)
            .map(|(standing, most)| standing.min(most)))
    }

    /// Refuses whoever has less than `least` in the fleet.
    pub(crate) async fn require(&self, app: &App, fleet: &Name, least: Role) -> Answer<()> {
        match self.role_in(app, fleet).await? {
            None => Err(Failure::not_found("fleet")),
            Some(role) if role >= least => Ok(()),
            Some(_) => Err(Failure::forbidden(format!(
                "this needs the role {} in {fleet}",
                least.as_str()
            ))),
        }
    }
}

/// The secret of an `Authorization: Bearer` header.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let peer = Peer::of(parts);
        app.failures.check(&peer)?;
        let caller = match bearer(parts) {
            Some(secret) => Self::of_secret(app, secret).await?,
            None => return Err(Failure::unauthorized()),
        };
        caller.ok_or_else(|| {
            app.failures.count(&peer);
            Failure::unauthorized()
        })
    }
}
