//! Parts of blobs (RFC 9110, section 14): one range, or all of it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::failure::{Answer, Failure};
use crate::App;
use crate::store::Part;

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(Part),
    Nothing,
}

/// Sends bytes that are at hand.
pub(crate) fn bytes(headers: &HeaderMap, bytes: Vec<u8>) -> Answer<Response> {
    let size = bytes.len() as u64;
    let (status, part) = part(headers, size)?;
    let from = usize::try_from(part.from)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let to = from
        .saturating_add(usize::try_from(part.len).unwrap_or(usize::MAX))
        .min(bytes.len());
    Ok(response(
        status,
        part,
        size,
        Body::from(bytes[from..to].to_vec()),
    ))
}

/// Sends a blob of the store.
pub(crate) async fn stored(
    app: &App,
    headers: &HeaderMap,
    digest: &str,
    size: u64,
) -> Answer<Response> {
    let (status, part) = part(headers, size)?;
    let pieces = app
        .store
        .read(digest, part)
        .await
        .map_err(Failure::internal)?;
    Ok(response(status, part, size, Body::from_stream(pieces)))
}

fn part(headers: &HeaderMap, size: u64) -> Answer<(StatusCode, Part)> {
    match asked(
        headers
            .get(header::RANGE)
            .and_then(|range| range.to_str().ok()),
        size,
    ) {
        Asked::All => Ok((StatusCode::OK, Part { from: 0, len: size })),
        Asked::Part(part) => Ok((StatusCode::PARTIAL_CONTENT, part)),
        Asked::Nothing => Err(Failure::range()),
    }
}

/// A header that is not understood asks for everything, as the RFC has it.
fn asked(range: Option<&str>, size: u64) -> Asked {
    let parts = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = parts.filter(|(_, to)| !to.contains(',')) else {
        return Asked::All;
    };
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.min(size.saturating_sub(1))),
        (Ok(from), Err(_)) if to.is_empty() => (from, size.saturating_sub(1)),
        (Err(_), Ok(last)) if from.is_empty() && last > 0 => {
            (size.saturating_sub(last), size.saturating_sub(1))
        }
        _ => return Asked::All,
    };
    if from >= size {
        Asked::Nothing
    } else {
        Asked::Part(Part {
            from,
            len: to - from + 1,
        })
    }
}

fn response(status: StatusCode, part: Part, size: u64, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.len));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = part.from + part.len - 1;
        let range = HeaderValue::from_str(&format!("bytes {}-{last}/{size}", part.from));
        headers.insert(
            header::CONTENT_RANGE,
            range.expect("digits and a few signs"),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_rfc_writes_it() {
        let part = |from, len| Asked::Part(Part { from, len });
        assert_eq!(asked(None, 10), Asked::All);
        assert_eq!(asked(Some("bytes=0-3"), 10), part(0, 4));
        assert_eq!(asked(Some("bytes=4-"), 10), part(4, 6));
        assert_eq!(asked(Some("bytes=-3"), 10), part(7, 3));
        assert_eq!(asked(Some("bytes=8-99"), 10), part(8, 2));
        assert_eq!(asked(Some("bytes=10-"), 10), Asked::Nothing);
        assert_eq!(asked(Some("bytes=0-0"), 0), Asked::Nothing);
        for odd in [
            "bytes=3-1",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=-",
            "bytes=x-y",
        ] {
            assert_eq!(asked(Some(odd), 10), Asked::All, "{odd}");
        }
    }
}
