//! Answers requests in Lightship's own way of speaking, and hands balena's to `balena`.
//!
//! Errors are problem details (RFC 9457).

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use lightship_core::id::Name;
use lightship_core::wire::Order;
use serde::Deserialize;
use serde_json::{Value, json};

use super::door::Door;
use super::locks::{self, LONGEST};
use super::rate::Rates;
use super::services::{Caller, Service};
use super::token::Dialect;
use super::{Local, balena};
use crate::daemon::status::Status;
use crate::engine::Engine;

/// What goes out.
pub(super) type Body = String;

/// A request's body is no longer.
const BODY_BYTES: usize = 4096;

/// Why there is no other answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

/// What is answered.
pub(super) type Answer = Result<(StatusCode, Value), Refusal>;

/// Who asks: a service, or the host's root, who may do everything.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    Host,
    Service(Caller),
}

impl Asker {
    fn service(&self) -> Option<&Service> {
        match self {
            Self::Host => None,
            Self::Service(caller) => Some(&caller.service),
        }
    }

    fn needs_control(&self, what: &str) -> Result<(), Refusal> {
        if self.service().is_none_or(|service| service.has_control) {
            return Ok(());
        }
        let why = format!("{what} needs `features: [device-control]` in the service's x-lightship");
        Err(Refusal(StatusCode::FORBIDDEN, why))
    }
}

/// Answers one request.
pub(super) async fn to<E: Engine + 'static>(
    local: &Local<E>,
    door: Door,
    rates: &Rates,
    request: Request<Incoming>,
) -> Response<Body> {
    let asker = who(local, door, &request);
    // No service has such a name: what is asked without a token leaves the host's own requests alone.
    let name = match &asker {
        Ok(Asker::Host) => "/host",
        Err(_) => "",
        Ok(Asker::Service(caller)) => &caller.service.name,
    };
    if !rates.take(name, Instant::now()) {
        let mut response = problem(&Refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests; ten a second are answered".to_owned(),
        ));
        response.headers_mut().insert(RETRY_AFTER, 1.into());
        return response;
    }
    let asker = match asker {
        Ok(asker) => asker,
        Err(refusal) => return problem(&refusal),
    };
    let (head, body) = request.into_parts();
    let Some(body) = read(body).await else {
        let why = format!("a body has at most {BODY_BYTES} bytes");
        return problem(&Refusal(StatusCode::PAYLOAD_TOO_LARGE, why));
    };
    let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    let speaks_balena =
        matches!(&asker, Asker::Service(caller) if caller.dialect == Dialect::Balena);
    if speaks_balena {
        return balena::answer(local, &asker, &head.method, &path, &body).await;
    }
    match answer(local, &asker, &head.method, &path, &body).await {
        Ok((status, value)) => json_response(status, "application/json", &value),
        Err(refusal) => problem(&refusal),
    }
}

fn who<E>(local: &Local<E>, door: Door, request: &Request<Incoming>) -> Result<Asker, Refusal> {
    let at = match door {
        Door::Host => return Ok(Asker::Host),
        Door::Service(id) => Some(id),
        Door::Address => None,
    };
    let header = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let header = header.and_then(|value| value.strip_prefix("Bearer "));
    // As balena's applications show it.
    let query = request.uri().query().unwrap_or_default();
    let query = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("apikey="));
    let caller = header
        .or(query)
        .and_then(|token| local.services.caller(token, at));
    caller.map(Asker::Service).ok_or_else(|| {
        let why = "show the service's token: `Authorization: Bearer $LIGHTSHIP_API_TOKEN`";
        Refusal(StatusCode::UNAUTHORIZED, why.to_owned())
    })
}

/// A lock that is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    expires_in_s: Option<u64>,
    #[serde(default)]
    covers: Covers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Covers {
    #[default]
    Service,
    Device,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tag {
    value: String,
}

async fn answer<E: Engine + 'static>(
    local: &Local<E>,
    asker: &Asker,
    method: &Method,
    path: &[&str],
    body: &[u8],
) -> Answer {
    let get = method == Method::GET;
    let post = method == Method::POST;
    match path {
        ["v1", "status"] if get => {
            asker.needs_control("the whole status")?;
            Ok((StatusCode::OK, to_value(&status(local).await)))
        }
        ["v1", "device"] if get => Ok((StatusCode::OK, to_value(&status(local).await.device))),
        ["v1", "device", "connection"] if get => {
            Ok((StatusCode::OK, to_value(&local.board.connection())))
        }
        ["v1", "release"] if get => Ok((StatusCode::OK, to_value(&local.board.releases()))),
        ["v1", "services"] if get => {
            Ok((StatusCode::OK, to_value(&status(local).await.components)))
        }
        ["v1", "services", name] if get => one_service(local, name).await,
        ["v1", "services", name, "restart"] if post => restart(local, asker, name).await,
        ["v1", "locks"] if get => Ok((StatusCode::OK, to_value(&status(local).await.locks))),
        ["v1", "lock"] if method == Method::PUT => lock(local, asker, body).await,
        ["v1", "lock"] if method == Method::DELETE => unlock(local, asker),
        ["v1", "device", "reboot"] if post => {
            asker.needs_control("to restart the device")?;
            local.ask(Order::Reboot);
            Ok((StatusCode::ACCEPTED, held_by(local)))
        }
        ["v1", "device", "update"] if post => {
            local.ask(Order::Report);
            Ok((StatusCode::ACCEPTED, held_by(local)))
        }
        ["v1", "device", "tags"] if get => Ok((StatusCode::OK, to_value(&local.tags.all()))),
        ["v1", "device", "tags", name] => tag(local, asker, method, name, body),
        ["v1", ..] => Err(Refusal(
            StatusCode::NOT_FOUND,
            format!("there is nothing at {method} /{}", path.join("/")),
        )),
        _ => Err(Refusal(
            StatusCode::NOT_FOUND,
            "paths begin with /v1/".to_owned(),
        )),
    }
}

/// All that there is to say.
pub(super) async fn status<E: Engine + 'static>(local: &Local<E>) -> Status {
    let found = local.inventory().await;
    Status::of(
        local.services.facts(),
        &local.board,
        &found,
        &local.locks.held(),
        &local.tags.all(),
    )
}

async fn one_service<E: Engine + 'static>(local: &Local<E>, name: &str) -> Answer {
    let all = local.board.components(&local.inventory().await);
    let found: Vec<_> = all
        .into_iter()
        .filter(|component| component.name == name)
        .collect();
    if found.is_empty() {
        return Err(unknown(name));
    }
    Ok((StatusCode::OK, to_value(&found)))
}

fn unknown(name: &str) -> Refusal {
    Refusal(
        StatusCode::NOT_FOUND,
        format!("no release on this device has a service {name:?}"),
    )
}

/// Has a service stopped and started; what a lock holds off, waits.
pub(super) async fn restart<E: Engine + 'static>(
    local: &Local<E>,
    asker: &Asker,
    name: &str,
) -> Answer {
    if asker.service().is_none_or(|service| service.name != name) {
        asker.needs_control("to restart another service")?;
    }
    let all = local.board.components(&local.inventory().await);
    let known = all.iter().any(|component| component.name == name);
    let name = Name::new(name)
        .ok()
        .filter(|_| known)
        .ok_or_else(|| unknown(name))?;
    local.ask(Order::Restart(name));
    Ok((StatusCode::ACCEPTED, held_by(local)))
}

async fn lock<E: Engine + 'static>(local: &Local<E>, asker: &Asker, body: &[u8]) -> Answer {
    let Asker::Service(caller) = asker else {
        return Err(not_for_the_host());
    };
    let wish: Wish = if body.is_empty() {
        Wish::default()
    } else {
        parse(body)?
    };
    let covers_all = matches!(wish.covers, Covers::Device);
    if covers_all {
        asker.needs_control("to hold everything off")?;
    }
    let span = wish.expires_in_s.map(Duration::from_secs);
    if span.is_some_and(|span| span.is_zero() || span > LONGEST) {
        let why = format!("expires_in_s is 1 to {}", LONGEST.as_secs());
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    let instance = locks::of(caller.id, &local.inventory().await);
    let life = match (&local.engine, instance) {
        (Some(engine), Some(instance)) => engine.life(&instance).await,
        _ => None,
    };
    let taken = local.locks.take(caller.id, life, covers_all, span);
    let taken = taken.map_err(|error| {
        Refusal(
            StatusCode::INSUFFICIENT_STORAGE,
            format!("the lock cannot be kept: {error}"),
        )
    })?;
    if taken.is_none() {
        let why = "the service does not run, so it can hold nothing off".to_owned();
        return Err(Refusal(StatusCode::CONFLICT, why));
    }
    if let Some(engine) = &local.engine {
        // The agent knows before whoever asked does.
        local.locks.look(&**engine, &local.tell).await;
    }
    Ok((
        StatusCode::OK,
        json!({"covers": if covers_all { "device" } else { "service" }, "expires_in_s": wish.expires_in_s}),
    ))
}

fn unlock<E>(local: &Local<E>, asker: &Asker) -> Answer {
    let Asker::Service(caller) = asker else {
        return Err(not_for_the_host());
    };
    local.locks.release(caller.id);
    Ok((StatusCode::NO_CONTENT, Value::Null))
}

fn not_for_the_host() -> Refusal {
    let why = "a lock is its service's; the host has none".to_owned();
    Refusal(StatusCode::CONFLICT, why)
}

fn tag<E: Engine + 'static>(
    local: &Local<E>,
    asker: &Asker,
    method: &Method,
    name: &str,
    body: &[u8],
) -> Answer {
    asker.needs_control("to set a tag")?;
    let value = match *method {
        Method::PUT => Some(parse::<Tag>(body)?.value),
        Method::DELETE => None,
        _ => {
            return Err(Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "PUT or DELETE a tag".to_owned(),
            ));
        }
    };
    let set = local.tags.set(name, value.as_deref());
    set.map_err(|why| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    Ok((StatusCode::OK, to_value(&local.tags.all())))
}

/// What keeps an order from being carried out at once.
fn held_by<E>(local: &Local<E>) -> Value {
    let held = local.locks.held();
    let names: Vec<_> = held.iter().map(|held| held.service.as_str()).collect();
    json!({"accepted": true, "held_by": names})
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let why = format!("the body is not as it should be: {error}");
        Refusal(StatusCode::UNPROCESSABLE_ENTITY, why)
    })
}

fn to_value(what: &impl serde::Serialize) -> Value {
    serde_json::to_value(what).unwrap_or_default()
}

/// The whole body, if it is not too long.
async fn read(body: Incoming) -> Option<Vec<u8>> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > BODY_BYTES {
            return None;
        }
    }
    Some(bytes)
}

pub(super) fn json_response(
    status: StatusCode,
    kind: &'static str,
    value: &Value,
) -> Response<Body> {
    let body = if value.is_null() {
        String::new()
    } else {
        value.to_string() + "\n"
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if !value.is_null() {
        let kind = hyper::header::HeaderValue::from_static(kind);
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

pub(super) fn problem(Refusal(status, detail): &Refusal) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or_default();
    let value = json!({"status": status.as_u16(), "title": title, "detail": detail});
    json_response(*status, "application/problem+json", &value)
}

/// A presence in balena's words.
pub(super) fn balena_word(state: &str) -> &'static str {
    match state {
        "healthy" | "unhealthy" | "starting" => "Running",
        "exited" | "completed" => "exited",
        "staged" => "Installed",
        _ => "Downloading",
    }
}
