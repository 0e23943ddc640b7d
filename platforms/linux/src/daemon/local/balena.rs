//! The local API as applications written for balena know it: the supervisor's basics.
//!
//! What belongs to balena's cloud (registration, delta settings, host configuration) is answered with 501
//! and says so. Locks are not overridden here: `force` of an application is refused while one holds.

use hyper::{Method, Response, StatusCode};
use lightship_core::wire::Order;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Local;
use super::answer::{Asker, Body, Refusal, balena_word, json_response, restart, status};
use super::services::number;
use crate::daemon::status::Status;
use crate::engine::Engine;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    #[serde(rename = "serviceName")]
    service_name: Option<String>,
}

/// Answers one request of an application written for balena.
pub(super) async fn answer<E: Engine + 'static>(
    local: &Local<E>,
    asker: &Asker,
    method: &Method,
    path: &[&str],
    body: &[u8],
) -> Response<Body> {
    let text = |text: &str| {
        let mut response = Response::new(text.to_owned());
        *response.status_mut() = StatusCode::OK;
        response
    };
    match (method.as_str(), path) {
        ("GET", ["ping"] | ["v1", "healthy"]) => text("OK"),
        _ => match route(local, asker, method, path, body).await {
            Ok((status, value)) => json_response(status, "application/json", &value),
            Err(Refusal(status, why)) => json_response(
                status,
                "application/json",
                &json!({"status": "failed", "message": why, "Error": why, "Data": ""}),
            ),
        },
    }
}

async fn route<E: Engine + 'static>(
    local: &Local<E>,
    asker: &Asker,
    method: &Method,
    path: &[&str],
    body: &[u8],
) -> super::answer::Answer {
    let Asker::Service(caller) = asker else {
        return Err(Refusal(
            StatusCode::NOT_FOUND,
            "there is no such path".to_owned(),
        ));
    };
    let ok = |value| Ok((StatusCode::OK, value));
    let done = json!({"Data": "OK", "Error": ""});
    match (method.as_str(), path) {
        ("GET", ["v1", "device"]) => ok(device(&status(local).await)),
        ("GET", ["v2", "device", "name"]) => {
            ok(json!({"status": "success", "deviceName": local.services.facts().name}))
        }
        ("GET", ["v2", "device", "tags"]) => ok(tags(local)),
        ("GET", ["v2", "version"]) => {
            ok(json!({"status": "success", "version": env!("CARGO_PKG_VERSION")}))
        }
        ("GET", ["v2", "state", "status"]) => ok(state(&status(local).await)),
        ("GET", ["v2", "applications", "state"]) => ok(applications(
            &status(local).await,
            &caller.service.application,
        )),
        ("POST", ["v1", "update"]) => {
            unlocked(local)?;
            local.ask(Order::Report);
            Ok((StatusCode::NO_CONTENT, Value::Null))
        }
        ("POST", ["v1", "reboot"]) => {
            unlocked(local)?;
            local.ask(Order::Reboot);
            Ok((StatusCode::ACCEPTED, done))
        }
        ("POST", ["v1", "restart"]) => {
            unlocked(local)?;
            for component in status(local)
                .await
                .components
                .iter()
                .filter(|one| one.release == "committed")
            {
                order_restart(local, &component.name)?;
            }
            ok(done)
        }
        ("POST", ["v2", "applications", _, "restart-service"]) => {
            unlocked(local)?;
            let wish: Wish = serde_json::from_slice(body).unwrap_or_default();
            let name = wish
                .service_name
                .unwrap_or_else(|| caller.service.name.clone());
            restart(local, &Asker::Host, &name).await?;
            ok(json!("OK"))
        }
        ("POST", ["v1", "blink"]) => {
            local.ask(Order::Identify);
            ok(json!("OK"))
        }
        ("POST", ["v1", "shutdown" | "purge" | "regenerate-api-key"])
        | (_, ["v1" | "v2", "device", "host-config"]) => {
            let why = "Lightship does not do this for an application".to_owned();
            Err(Refusal(StatusCode::NOT_IMPLEMENTED, why))
        }
        _ => Err(Refusal(
            StatusCode::NOT_FOUND,
            format!("Lightship has nothing at {method} /{}", path.join("/")),
        )),
    }
}

fn order_restart<E: Engine + 'static>(local: &Local<E>, name: &str) -> Result<(), Refusal> {
    let name = lightship_core::id::Name::new(name);
    let name =
        name.map_err(|_| Refusal(StatusCode::NOT_FOUND, "there is no such service".to_owned()))?;
    local.ask(Order::Restart(name));
    Ok(())
}

/// balena answers 423 while a lock holds.
fn unlocked<E>(local: &Local<E>) -> Result<(), Refusal> {
    let held = local.locks.held();
    match held.first() {
        None => Ok(()),
        Some(held) => Err(Refusal(
            StatusCode::LOCKED,
            format!("Updates are locked by {}", held.service),
        )),
    }
}

fn device(status: &Status) -> Value {
    let releases = &status.release;
    json!({
        "api_port": 48484,
        "commit": releases.committed.as_ref().map(|release| &release.digest),
        "ip_address": "",
        "status": if releases.trial.is_some() { "Updating" } else { "Idle" },
        "download_progress": null,
        "os_version": null,
        "supervisor_version": env!("CARGO_PKG_VERSION"),
        "update_pending": releases.trial.is_some(),
        "update_downloaded": releases.trial_started,
        "update_failed": releases.trial.is_none() && releases.rejected.is_some(),
    })
}

fn state(status: &Status) -> Value {
    let containers: Vec<_> = status.components.iter().map(|component| {
        json!({"status": balena_word(&component.state), "serviceName": component.name, "imageId": 0, "serviceId": number(&component.name)})
    }).collect();
    json!({
        "status": "success",
        "appState": if status.release.trial.is_some() { "applying" } else { "applied" },
        "overallDownloadProgress": null,
        "containers": containers,
        "images": [],
        "release": status.release.committed.as_ref().map(|release| &release.digest),
    })
}

fn applications(status: &Status, application: &str) -> Value {
    let services: serde_json::Map<String, Value> = status.components.iter().map(|component| {
        let state = json!({"status": balena_word(&component.state), "releaseId": 0, "downloadProgress": null});
        (component.name.clone(), state)
    }).collect();
    json!({application: {"appId": number(application), "commit": status.release.committed.as_ref().map(|release| &release.digest), "services": services}})
}

fn tags<E>(local: &Local<E>) -> Value {
    let tags: Vec<_> = local
        .tags
        .all()
        .into_iter()
        .map(|(name, value)| json!({"id": number(&name), "name": name, "value": value}))
        .collect();
    json!({"status": "success", "tags": tags})
}
