//! Log lines of a device: what is stored, and what comes.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use lightship_api::{LogLine, Name};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::caller::Caller;
use super::extract::{Json, Path, Query};
use super::failure::{Answer, Failure};
use super::page;
use super::standing::Standing;
use crate::{App, db};

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Of this service alone.
    #[serde(default)]
    service: String,
    /// At most so many of the last ones; 100 if absent, 1000 at most.
    limit: Option<u32>,
    /// Go on with lines as they come, as server-sent events.
    #[serde(default)]
    follow: bool,
}

/// The last log lines of a device, oldest first; with `follow`, and then those that come.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/devices/{device}/logs", operation_id = "readLogs", tag = "logs", params(("fleet" = Name, Path, description = "The fleet's name"), ("device" = String, Path, description = "The device's uuid"), Which), responses((status = 200, description = "Lines; with `follow`, each in an event", body = Vec<LogLine>)))]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, device)): Path<(Name, String)>,
    Query(which): Query<Which>,
) -> Answer<Response> {
    let standing = Standing::of(&app, caller, &fleet).await?;
    let found = db::devices::find(&app.db, &fleet, &device).await?;
    let device = found.ok_or_else(|| Failure::not_found("device"))?.uuid;
    // Subscribed before the stored lines are read, so that none falls between the two.
    let live = app.log_lines.subscribe();
    let limit = page::limit(which.limit);
    let stored = db::log_lines::last(&app.db, &device, &which.service, u64::MAX, limit).await?;
    let stored: Vec<LogLine> = stored.into_iter().map(|(_, line)| line).collect();
    if !which.follow {
        return Ok(Json(stored).into_response());
    }
    let newest = stored.last().map(|line| line.at);
    let stored_last = stored.clone();
    let wanted = move |line: &LogLine| {
        let ours =
            line.device == device && (which.service.is_empty() || line.service == which.service);
        // A line of the same moment may be among those that were read.
        ours && (newest.is_none_or(|newest| line.at > newest) || !stored_last.contains(line))
    };
    let live = stream::unfold(
        (live, standing, wanted),
        |(mut live, mut standing, wanted)| async move {
            loop {
                let heard = tokio::select! {
                    () = standing.lost() => return None,
                    heard = live.recv() => heard,
                };
                match heard {
                    Ok(line) if wanted(&line) => {
                        let holds = standing.holds().await;
                        return holds.then_some((line, (live, standing, wanted)));
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        },
    );
    let lines = stream::iter(stored).chain(live);
    let frames = lines.map(|line| {
        let data = serde_json::to_string(&line).expect("a line is plain data");
        Ok::<_, Infallible>(Frame::default().event("line").data(data))
    });
    Ok(Sse::new(frames)
        .keep_alive(KeepAlive::default())
        .into_response())
}
