//! Asking for what the fleet has to say.

use std::format;
use std::string::String;
use std::sync::Arc;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::{self, Rejection, json};
use lightship_link::{Failure, Misconduct};
use reqwest::header::{ETAG, HeaderName, IF_NONE_MATCH};
use reqwest::{Client, Method, StatusCode};

use super::client::{self, header};
use super::config::Config;
use super::failure;
use crate::protocol::{Seen, Tag};

/// What one request brought.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing new.
    Unchanged,
    /// A message in postcard, and the tag that it came under.
    Message(Tag, Vec<u8>),
    /// Something under this tag that is no message.
    Rejected(Tag, Rejection),
}

/// One request for the target. It owns all that it needs, so that it can wait while messages are sent.
pub(super) async fn ask(
    client: Client,
    config: Arc<Config>,
    bearer: Option<String>,
    seen: Seen,
    wait: Duration,
) -> Result<Answer, Failure> {
    let path = format!("target?{}", seen.query());
    let mut request = client::request(&client, &config, (Method::GET, &path), bearer.as_deref());
    let tags = seen.tags();
    if !tags.is_empty() {
        request = request.header(IF_NONE_MATCH, tags.as_str());
    }
    if !wait.is_zero() {
        let prefer = HeaderName::from_static("prefer");
        request = request.header(prefer, format!("wait={}", wait.as_secs()));
    }
    let request = request.timeout(wait + config.timeout);
    let mut response = request.send().await.map_err(|error| failure::of(&error))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(Answer::Unchanged),
        _ => return Err(client::judge(&response)),
    }
    let tag = header(&response, ETAG).and_then(Tag::parse);
    let tag = tag.ok_or(Failure::Misbehaved(Misconduct::Sequence))?;
    match client::body(&mut response, json::TEXT_BYTES).await {
        Ok(text) => Ok(match postcard(&text) {
            Ok(message) => Answer::Message(tag, message),
            Err(rejection) => Answer::Rejected(tag, rejection),
        }),
        Err(Failure::Misbehaved(Misconduct::Length)) => {
            Ok(Answer::Rejected(tag, Rejection::TooLarge))
        }
        Err(failure) => Err(failure),
    }
}

/// A message in JSON as a message in postcard, which is what a mailbox holds.
pub(super) fn postcard(text: &[u8]) -> Result<Vec<u8>, Rejection> {
    let mut scratch = vec![0; text.len()];
    let message = json::decode_down(text, &mut scratch)?;
    let mut out = vec![0; MESSAGE_BYTES];
    let len = wire::encode(&message, &mut out)?.len();
    out.truncate(len);
    Ok(out)
}
