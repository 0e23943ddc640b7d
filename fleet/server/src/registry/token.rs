//! `GET /v2/token`: name and password, or a device's uuid and key, for a pass of five minutes.
//!
//! The pass says what it is good for and is signed with the server's own key, so that each of
//! the many requests of a push costs no query. It is no longer than it is because a membership
//! that ends should end with it.

use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lightship_api::{Login, Role};
use serde::{Deserialize, Serialize};

use super::names::{self, Repository};
use crate::http::caller::{Caller, TOKEN_KIND};
use crate::http::failure::{Answer, Failure};
use crate::http::peer::Peer;
use crate::{App, clock};

/// What a pass begins with.
const KIND: &str = "lsr_";
/// How long a pass is good, in seconds.
const LIFE_S: i64 = 300;
/// Scopes of one pass.
const SCOPES: usize = 16;

/// What a pass says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pass {
    expires_ms: i64,
    access: Vec<Access>,
}

/// What may be done in one repository.
#[derive(Debug, Serialize, Deserialize)]
struct Access {
    repository: String,
    pull: bool,
    push: bool,
}

/// Somebody who may have images.
pub(super) enum Holder {
    Person(Caller),
    Device(std::sync::Arc<crate::roster::Known>),
}

impl Pass {
    /// Reads a pass that this server signed and that is still good.
    pub(super) fn read(app: &App, text: &str) -> Option<Self> {
        let (body, mac) = text.strip_prefix(KIND)?.split_once('.')?;
        if !app.secrets.matches(&format!("pass {body}"), mac) {
            return None;
        }
        let pass: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        (pass.expires_ms > clock::now_ms()).then_some(pass)
    }

    /// Whether it lets its holder in.
    pub(super) fn allows(&self, repository: &str, push: bool) -> bool {
        let here = self
            .access
            .iter()
            .filter(|access| access.repository == repository);
        here.into_iter()
            .any(|access| if push { access.push } else { access.pull })
    }

    fn write(&self, app: &App) -> Answer<String> {
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(Failure::internal)?);
        let mac = app.secrets.hash(&format!("pass {body}"));
        Ok(format!("{KIND}{body}.{mac}"))
    }
}

impl Holder {
    /// Whether the holder may read or write a repository.
    pub(super) async fn may(&self, app: &App, repository: &Repository, push: bool) -> Answer<bool> {
        match self {
            Self::Person(caller) => {
                let least = if push { Role::Developer } else { Role::Viewer };
                let role = caller.role_in(app, &repository.fleet).await?;
                Ok(role.is_some_and(|role| role >= least))
            }
            Self::Device(known) => Ok(!push && known.fleet() == repository.fleet),
        }
    }
}

/// Gives a pass for as much of what is asked as the caller may do.
pub(super) async fn get(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Answer<Response> {
    let peer = Peer::of(&parts);
    app.failures.check(&peer)?;
    let Some(holder) = holder(&app, &parts).await? else {
        app.failures.count(&peer);
        return Err(Failure::unauthorized());
    };
    let mut access = Vec::new();
    let scopes = names::query(query.as_deref().unwrap_or_default()).into_iter();
    let scopes = scopes
        .filter(|(key, _)| key == "scope")
        .flat_map(|(_, value)| value.split(' ').map(str::to_owned).collect::<Vec<_>>());
    for scope in scopes.take(SCOPES) {
        let Some((repository, actions)) = scope
            .strip_prefix("repository:")
            .and_then(|scope| scope.rsplit_once(':'))
        else {
            continue;
        };
        let Some(repository) = Repository::parse(repository) else {
            continue;
        };
        let asked = |action: &str| actions.split(',').any(|one| one == action || one == "*");
        let pull = asked("pull") && holder.may(&app, &repository, false).await?;
        let push =
            (asked("push") || asked("delete")) && holder.may(&app, &repository, true).await?;
        access.push(Access {
            repository: repository.name,
            pull: pull || push,
            push,
        });
    }
    let pass = Pass {
        expires_ms: clock::now_ms() + LIFE_S * 1000,
        access,
    }
    .write(&app)?;
    let body = serde_json::json!({"token": pass, "access_token": pass, "expires_in": LIFE_S, "issued_at": clock::now()});
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok(axum::response::IntoResponse::into_response((
        json,
        body.to_string(),
    )))
}

/// Whose name and password these are: a person's, with a password or token, or a device's.
async fn holder(app: &App, parts: &Parts) -> Answer<Option<Holder>> {
    let value = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let basic = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded =
        basic.and_then(|(_, text)| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok());
    let Some((name, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) else {
        return Ok(None);
    };
    if name.parse::<lightship_core::id::Uuid>().is_ok() {
        return Ok(app.authenticate(name, password).await?.map(Holder::Device));
    }
    if crate::secret::id_of(password, TOKEN_KIND).is_some() {
        return Ok(Caller::of_secret(app, password).await?.map(Holder::Person));
    }
    let login = Login {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    let logged_in = app.log_in(login).await?;
    Ok(logged_in.map(|(user, admin)| Holder::Person(Caller::with_password(user, admin))))
}
