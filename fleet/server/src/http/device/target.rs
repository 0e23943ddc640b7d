//! `GET target`: everything that a fleet has to say, one message an answer.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::caller::Caller;
use crate::App;
use crate::db;
use crate::device::Had;
use crate::http::extract::Query;
use crate::http::failure::{Answer, Failure};

/// The longest that a request is held, in seconds.
const HOLD_S: u64 = 300;
/// Entity tags that are looked at.
const TAGS: usize = 16;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    root: u32,
    #[serde(default)]
    command: u64,
}

/// Answers at once when there is news, else waits as long as the device likes.
pub(super) async fn get(
    State(app): State<App>,
    Caller(known): Caller,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Answer<Response> {
    let had = Had {
        root: asked.root,
        command: asked.command,
        tags: tags(&headers),
    };
    let mut head = known.head();
    if had.command > 0 && had.command <= head.borrow().command {
        acknowledge(&app, &known.uuid.to_string(), had.command).await?;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait_s(&headers));
    loop {
        let now = *head.borrow_and_update();
        if has_news(now, &had)
            && let Some((tag, body)) = app.news(&known, now, &had).await?
        {
            return told(&tag, body);
        }
        let changed = tokio::select! {
            changed = head.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(deadline) => false,
            () = app.stop.cancelled() => false,
        };
        known.seen();
        if !changed {
            app.metrics
                .polls_unchanged
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(StatusCode::NOT_MODIFIED.into_response());
        }
    }
}

/// Whether the numbers alone say that there may be something: what makes an idle poll cost no query.
fn has_news(head: crate::roster::Head, had: &Had) -> bool {
    let has = |tag: String| had.tags.contains(&tag);
    let root = had.root > 0 && head.root > had.root && !has(format!("root-{}", had.root + 1));
    let target = head.counter > 0 && !has(head.counter.to_string());
    let tunnel = head.tunnel > 0 && !has(format!("tunnel-{}", head.tunnel));
    root || head.command > had.command || target || tunnel
}

async fn acknowledge(app: &App, uuid: &str, command: u64) -> Answer<()> {
    if db::commands::pending(&app.db, uuid, 0)
        .await?
        .first()
        .is_none_or(|oldest| oldest.id > command)
    {
        return Ok(());
    }
    let mut tx = app.db.write().await?;
    db::commands::acknowledge(&mut tx, uuid, command).await?;
    Ok(tx.commit().await?)
}

fn told(tag: &str, body: Vec<u8>) -> Answer<Response> {
    let tag = HeaderValue::from_str(&format!("\"{tag}\"")).map_err(Failure::internal)?;
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::ETAG, tag), (header::CONTENT_TYPE, json)], body).into_response())
}

/// The entity tags of `If-None-Match`, without their quotes.
fn tags(headers: &HeaderMap) -> Vec<String> {
    let values = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let tags = values.flat_map(|value| value.split(','));
    let bare = tags.map(|tag| {
        tag.trim()
            .trim_start_matches("W/")
            .trim_matches('"')
            .to_owned()
    });
    bare.take(TAGS).collect()
}

/// How long the device would wait: `Prefer: wait=<s>` (RFC 7240, section 4.3).
fn wait_s(headers: &HeaderMap) -> u64 {
    let values = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(','));
    let wait = preferences
        .filter_map(|one| one.trim().strip_prefix("wait=")?.parse::<u64>().ok())
        .next();
    wait.unwrap_or(0).min(HOLD_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::Head;

    #[test]
    fn the_numbers_alone_say_that_there_is_nothing_new() {
        let head = Head {
            counter: 7,
            root: 2,
            command: 3,
            tunnel: 0,
        };
        let had = |root, command, tag: &str| Had {
            root,
            command,
            tags: vec![tag.to_owned()],
        };
        assert!(!has_news(head, &had(2, 3, "7")));
        assert!(has_news(head, &had(2, 3, "6")));
        assert!(has_news(head, &had(1, 3, "7")));
        assert!(has_news(head, &had(2, 2, "7")));
        assert!(!has_news(Head::default(), &Had::default()));
        let head = Head { tunnel: 9, ..head };
        assert!(has_news(head, &had(2, 3, "7")));
        let mut told = had(2, 3, "7");
        told.tags.push("tunnel-9".to_owned());
        assert!(!has_news(head, &told));
    }

    #[test]
    fn headers_are_read_as_their_specifications_write_them() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::IF_NONE_MATCH,
            HeaderValue::from_static("\"7\", W/\"root-2\""),
        );
        headers.insert(
            "prefer",
            HeaderValue::from_static("respond-async, wait=9000"),
        );
        assert_eq!(tags(&headers), ["7", "root-2"]);
        assert_eq!(wait_s(&headers), HOLD_S);
    }
}
