//! `POST logs`: lines of a device's services, one JSON object a line, or defmt frames.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_api::{LogLine, LogStream};
use serde::Deserialize;

use super::caller::Caller;
use crate::http::extract::decode;
use crate::http::failure::{Answer, Failure};
use crate::{App, clock};

/// Lines of one batch.
const LINES: usize = 2000;
/// Bytes of one line; longer ones are cut.
const LINE_BYTES: usize = 16 * 1024;
/// Bytes of defmt frames that become one line, base64.
const FRAME_BYTES: usize = 3 * 1024;
/// The service that defmt frames are stored under.
const DEFMT: &str = "defmt";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    service: String,
    #[serde(default)]
    stream: LogStream,
    line: String,
}

/// Stores lines, and shows them to whoever follows.
pub(super) async fn post(
    State(app): State<App>,
    Caller(known): Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<StatusCode> {
    let device = known.uuid.to_string();
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let lines = match kind.split(';').next().map(str::trim) {
        Some("application/x-ndjson") => text(&device, &body)?,
        Some("application/vnd.lightship.defmt") => frames(&device, &body),
        _ => {
            return Err(Failure::malformed(
                "the content type must be application/x-ndjson or application/vnd.lightship.defmt",
            ));
        }
    };
    app.store_logs(lines).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn text(device: &str, body: &[u8]) -> Answer<Vec<LogLine>> {
    let rows = body
        .split(|byte| *byte == b'\n')
        .filter(|row| !row.trim_ascii().is_empty());
    let mut lines = Vec::new();
    for row in rows {
        let row: Line = decode(row)?;
        if lines.len() == LINES {
            return Err(Failure::too_large(format!("at most {LINES} lines at once")));
        }
        if row.service.parse::<lightship_core::id::Name>().is_err() {
            return Err(Failure::invalid("service", "not the name of a service"));
        }
        lines.push(line(device, row.service, row.stream, cut(row.line)));
    }
    Ok(lines)
}

fn frames(device: &str, body: &[u8]) -> Vec<LogLine> {
    let pieces = body.chunks(FRAME_BYTES);
    pieces
        .map(|piece| {
            line(
                device,
                DEFMT.to_owned(),
                LogStream::Out,
                STANDARD.encode(piece),
            )
        })
        .collect()
}

fn line(device: &str, service: String, stream: LogStream, line: String) -> LogLine {
    LogLine {
        at: clock::now(),
        device: device.to_owned(),
        service,
        stream,
        line,
    }
}

fn cut(mut text: String) -> String {
    // PostgreSQL keeps no NUL in text.
    text.retain(|character| character != '\0');
    let end = text.floor_char_boundary(LINE_BYTES);
    text.truncate(end);
    text
}
