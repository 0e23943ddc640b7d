//! Builds of projects: asked for, followed, cancelled.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use lightship_api::{Build, BuildEvent, Name, NewBuild, Role};
use lightship_builder::Platform;
use tokio::sync::watch;

use super::caller::Caller;
use super::check;
use super::extract::{Json, Path};
use super::failure::{Answer, Failure};
use super::standing::Standing;
use crate::{App, db};

/// Device types of one build.
const TARGETS: usize = 16;
/// Variables of one build.
const VARIABLES: usize = 256;
/// Lines read at once.
const LINES: i64 = 500;

/// Build a project whose archive was uploaded to a repository of the fleet.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/builds", operation_id = "createBuild", tag = "builds", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 202, description = "It waits, or is being built", body = Build)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Json(new): Json<NewBuild>,
) -> Answer<(StatusCode, Json<Build>)> {
    caller.require(&app, &fleet, Role::Developer).await?;
    check_targets(&new)?;
    check_variables(&new)?;
    if let Some(file) = &new.file {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        check::text("file", file, 256)?;
        if !file.split('/').all(plain) {
            return Err(Failure::invalid("file", "a path within the project"));
        }
    }
    let size = db::blobs::size_in_fleet(&app.db, &fleet, &new.project).await?;
    let size = size
        .ok_or_else(|| Failure::invalid("project", "no such archive was uploaded to the fleet"))?;
    let most = app.config.builder.archive_bytes;
    if size > most {
        return Err(Failure::too_large(format!(
            "an archive of {size} bytes; at most {most} are taken"
        )));
    }
    let number = app.build(&caller, &fleet, new).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(find(&app, &fleet, number).await?),
    ))
}

fn check_targets(new: &NewBuild) -> Answer<()> {
    if !(1..=TARGETS).contains(&new.targets.len()) {
        return Err(Failure::invalid(
            "targets",
            format!("1 to {TARGETS} targets"),
        ));
    }
    for (position, target) in new.targets.iter().enumerate() {
        if Platform::read(&target.platform).is_none() {
            return Err(Failure::invalid(
                format!("targets[{position}].platform"),
                "no platform: write linux/arm64 or linux/arm/v7",
            ));
        }
        let twice = |other: &lightship_api::BuildTarget| other.device_type == target.device_type;
        if new.targets[..position].iter().any(twice) {
            return Err(Failure::invalid(
                format!("targets[{position}].device_type"),
                "it is there twice",
            ));
        }
    }
    Ok(())
}

fn check_variables(new: &NewBuild) -> Answer<()> {
    if new.variables.len() > VARIABLES {
        return Err(Failure::invalid(
            "variables",
            format!("at most {VARIABLES} variables"),
        ));
    }
    for (name, value) in &new.variables {
        check::text("variables", name, 128)?;
        if value.len() > 4096 || value.contains('\0') {
            return Err(Failure::invalid(
                format!("variables.{name}"),
                "at most 4096 bytes of text",
            ));
        }
    }
    Ok(())
}

/// The fleet's builds, newest first.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/builds", operation_id = "listBuilds", tag = "builds", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Builds", body = Vec<Build>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
) -> Answer<Json<Vec<Build>>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    Ok(Json(db::builds::list(&app.db, &fleet).await?))
}

/// One build.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/builds/{build}", operation_id = "showBuild", tag = "builds", params(("fleet" = Name, Path, description = "The fleet's name"), ("build" = u64, Path, description = "The build's number")), responses((status = 200, description = "The build", body = Build)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
) -> Answer<Json<Build>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    find(&app, &fleet, number).await.map(Json)
}

/// End a build.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/builds/{build}/cancel", operation_id = "cancelBuild", tag = "builds", params(("fleet" = Name, Path, description = "The fleet's name"), ("build" = u64, Path, description = "The build's number")), responses((status = 200, description = "Cancelled", body = Build)))]
pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
) -> Answer<Json<Build>> {
    caller.require(&app, &fleet, Role::Developer).await?;
    find(&app, &fleet, number).await?;
    app.cancel_build(&caller, &fleet, number).await?;
    find(&app, &fleet, number).await.map(Json)
}

async fn find(app: &App, fleet: &Name, number: u64) -> Answer<Build> {
    let found = db::builds::find(&app.db, fleet, number).await?;
    found.ok_or_else(|| Failure::not_found("build"))
}

/// Who reads a log, and how far.
struct Reader {
    app: App,
    standing: Standing,
    news: watch::Receiver<u64>,
    fleet: Name,
    number: u64,
    after: u64,
    ended: bool,
}

/// The log of a build as it comes, as server-sent events; `Last-Event-ID` takes it up where a listener left off.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/builds/{build}/log", operation_id = "followBuild", tag = "builds", params(("fleet" = Name, Path, description = "The fleet's name"), ("build" = u64, Path, description = "The build's number")), responses((status = 200, description = "Lines, and at last how it ended", body = BuildEvent, content_type = "text/event-stream")))]
pub(super) async fn log(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Frame, Infallible>>>> {
    let standing = Standing::of(&app, caller, &fleet).await?;
    find(&app, &fleet, number).await?;
    let last = headers.get("last-event-id");
    let reader = Reader {
        standing,
        news: app.builds.news(),
        fleet,
        number,
        after: last
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0),
        ended: false,
        app,
    };
    let batches = stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|frames| (frames, reader))
    });
    let frames = batches.flat_map(stream::iter).map(Ok);
    Ok(Sse::new(frames).keep_alive(KeepAlive::default()))
}

impl Reader {
    /// What is new; nothing when it has ended, or is not for the reader any more.
    async fn next(&mut self) -> Option<Vec<Frame>> {
        loop {
            if self.ended || !self.standing.holds().await {
                return None;
            }
            self.news.mark_unchanged();
            // The state is read first: what is said is stored before how it ended.
            let build = find(&self.app, &self.fleet, self.number).await.ok()?;
            let (fleet, number) = (&self.fleet, self.number);
            let lines = db::builds::lines(&self.app.db, fleet, number, self.after, LINES);
            let lines = lines.await.ok()?;
            if let Some(last) = lines.last() {
                self.after = last.number;
                return Some(lines.into_iter().map(BuildEvent::Line).map(frame).collect());
            }
            if build.state.is_end() {
                self.ended = true;
                return Some(vec![frame(BuildEvent::Ended(build))]);
            }
            tokio::select! {
                () = self.standing.lost() => return None,
                _ = self.news.changed() => {}
            }
        }
    }
}

fn frame(event: BuildEvent) -> Frame {
    let data = serde_json::to_string(&event).expect("an event is plain data");
    match event {
        BuildEvent::Line(line) => Frame::default()
            .event("line")
            .id(line.number.to_string())
            .data(data),
        BuildEvent::Ended(_) => Frame::default().event("ended").data(data),
    }
}
