//! Who may do what in a repository.

use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};

use super::names::Repository;
use super::refusal::{Refusal, unauthorized};
use super::token::{Holder, Pass};
use crate::App;
use crate::http::caller::{Caller, bearer};
use crate::http::peer::Peer;

/// Refuses whoever shows nothing that is good for anything.
pub(super) async fn anybody(app: &App, parts: &Parts) -> Result<(), Refusal> {
    match shown(app, parts).await? {
        Shown::Nothing => Err(unauthorized(challenge(app, parts, None, ""))),
        Shown::Pass(_) | Shown::Holder(_) => Ok(()),
    }
}

/// Refuses whoever may not do this here. What a caller may not read is as if it were not there:
/// the answer is the same challenge for a repository of others as for none at all.
pub(super) async fn allowed(
    app: &App,
    parts: &Parts,
    repository: &Repository,
    method: &Method,
    query: &[(String, String)],
) -> Result<(), Refusal> {
    let push = !matches!(*method, Method::GET | Method::HEAD);
    let actions = if push { "pull,push" } else { "pull" };
    let shown = shown(app, parts).await?;
    let mut allowed = may(app, &shown, repository, push).await?;
    // What is mounted from elsewhere must be the caller's to read there; otherwise it is sent again.
    let from = query
        .iter()
        .find(|(key, _)| key == "from")
        .and_then(|(_, from)| Repository::parse(from));
    if let Some(from) = from {
        allowed &= may(app, &shown, &from, false).await? || from.fleet == repository.fleet;
    }
    if allowed {
        Ok(())
    } else {
        Err(unauthorized(challenge(
            app,
            parts,
            Some(repository),
            actions,
        )))
    }
}

/// What a caller showed.
enum Shown {
    Nothing,
    Pass(Pass),
    Holder(Holder),
}

async fn may(
    app: &App,
    shown: &Shown,
    repository: &Repository,
    push: bool,
) -> Result<bool, Refusal> {
    Ok(match shown {
        Shown::Nothing => false,
        Shown::Pass(pass) => pass.allows(&repository.name, push),
        Shown::Holder(holder) => holder.may(app, repository, push).await?,
    })
}

async fn shown(app: &App, parts: &Parts) -> Result<Shown, Refusal> {
    let Some(secret) = bearer(parts) else {
        return Ok(Shown::Nothing);
    };
    let peer = Peer::of(parts);
    app.failures.check(&peer)?;
    if let Some(pass) = Pass::read(app, secret) {
        return Ok(Shown::Pass(pass));
    }
    if let Some(caller) = Caller::of_secret(app, secret).await? {
        return Ok(Shown::Holder(Holder::Person(caller)));
    }
    if let Some((uuid, key)) = secret.split_once('.')
        && let Some(known) = app.authenticate(uuid, key).await?
    {
        return Ok(Shown::Holder(Holder::Device(known)));
    }
    app.failures.count(&peer);
    Ok(Shown::Nothing)
}

/// Where to get a pass, as Docker's token authentication has it.
fn challenge(
    app: &App,
    parts: &Parts,
    repository: Option<&Repository>,
    actions: &str,
) -> HeaderValue {
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let base = match (&app.config.public_url, host) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(host)) => format!("https://{host}"),
        (None, None) => format!("https://{}", app.config.https.listen),
    };
    let mut text = format!("Bearer realm=\"{base}/v2/token\",service=\"lightship\"");
    if let Some(repository) = repository {
        text += &format!(",scope=\"repository:{}:{actions}\"", repository.name);
    }
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}
