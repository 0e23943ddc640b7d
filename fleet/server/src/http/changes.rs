//! The record of changes, and the stream of what happens.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use lightship_api::{Changes, Event, Name, Role};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::caller::Caller;
use super::extract::{Json, Path, Query};
use super::failure::Answer;
use super::page;
use super::standing::Standing;
use crate::{App, db};

/// Changes sent at once to a listener that was away; the rest it reads page by page.
const CATCH_UP: i64 = 1000;

/// Which part of the record.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    /// Only changes before this number.
    before: Option<u64>,
    /// At most so many; 100 if absent, 1000 at most.
    limit: Option<u32>,
}

/// Every change on this server, newest first.
#[utoipa::path(get, path = "/api/v1/changes", operation_id = "listChanges", tag = "changes", params(Before), responses((status = 200, description = "Changes", body = Changes)))]
pub(super) async fn of_server(
    State(app): State<App>,
    caller: Caller,
    Query(part): Query<Before>,
) -> Answer<Json<Changes>> {
    caller.require_admin()?;
    let limit = page::limit(part.limit);
    let changes = db::changes::all(&app.db, part.before.unwrap_or(u64::MAX), limit).await?;
    Ok(Json(paged(changes, limit)))
}

/// Every change in a fleet, newest first.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/changes", operation_id = "listFleetChanges", tag = "changes", params(("fleet" = Name, Path, description = "The fleet's name"), Before), responses((status = 200, description = "Changes", body = Changes)))]
pub(super) async fn of_fleet(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Query(part): Query<Before>,
) -> Answer<Json<Changes>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    let limit = page::limit(part.limit);
    let changes =
        db::changes::of_fleet(&app.db, &fleet, part.before.unwrap_or(u64::MAX), limit).await?;
    Ok(Json(paged(changes, limit)))
}

fn paged(changes: Vec<lightship_api::Change>, limit: i64) -> Changes {
    let full = i64::try_from(changes.len()).is_ok_and(|count| count == limit);
    let before = changes.last().filter(|_| full).map(|change| change.number);
    Changes { changes, before }
}

/// What happens in a fleet, as server-sent events; `Last-Event-ID` takes up the changes where a listener left off.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/events", operation_id = "watchFleet", tag = "changes", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "A stream of events", body = Event, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Frame, Infallible>>>> {
    let standing = Standing::of(&app, caller, &fleet).await?;
    // Subscribed before the record is read, so that nothing falls between the two.
    let live = app.events.subscribe();
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let missed = match last {
        Some(last) => db::changes::since(&app.db, &fleet, last, CATCH_UP).await?,
        None => Vec::new(),
    };
    let seen = missed
        .last()
        .map_or(last.unwrap_or(0), |change| change.number);
    let missed = stream::iter(missed).map(|change| frame(&Event::Change(change)));
    let live = stream::unfold(
        (live, standing, fleet, seen),
        |(mut live, mut standing, fleet, seen)| async move {
            loop {
                let heard = tokio::select! {
                    () = standing.lost() => return None,
                    heard = live.recv() => heard,
                };
                match heard {
                    Ok((of, event)) if of == fleet && is_new(&event, seen) => {
                        // What happened after the right was lost is not told.
                        let frame = standing.holds().await.then(|| frame(&event))?;
                        return Some((frame, (live, standing, fleet, seen)));
                    }
                    Ok(_) => {}
                    // Too slow: the listener comes back with the last number it saw.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                }
            }
        },
    );
    let stream = missed.chain(live).map(Ok);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn is_new(event: &Event, seen: u64) -> bool {
    !matches!(event, Event::Change(change) if change.number <= seen)
}

fn frame(event: &Event) -> Frame {
    let data = serde_json::to_string(event).expect("an event is plain data");
    let (name, id) = match event {
        Event::Change(change) => ("change", Some(change.number)),
        Event::Presence { .. } => ("presence", None),
        Event::Metrics { .. } => ("metrics", None),
        Event::Target { .. } => ("target", None),
        Event::Rollout { .. } => ("rollout", None),
        Event::Build { .. } => ("build", None),
        Event::Report { .. } => ("report", None),
    };
    let frame = Frame::default().event(name).data(data);
    match id {
        Some(id) => frame.id(id.to_string()),
        None => frame,
    }
}
