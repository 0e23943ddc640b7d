//! Sending a message, and what comes back at once.

use std::vec;
use std::vec::Vec;

use lightship_core::wire::{Down, Rejection, Up, json};
use lightship_link::limits::UP_BYTES;
use lightship_link::{Failure, Misconduct};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, Response, StatusCode};

use super::client;
use super::config::Config;
use super::failure;
use super::target::postcard;
use crate::limits::PROBLEM_BYTES;
use crate::protocol;

/// What a fleet that took a message said to it.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nothing.
    Taken,
    /// A message in postcard.
    Message(Vec<u8>),
    /// Something that is no message.
    Rejected(Rejection),
}

/// Sends one message.
pub(super) async fn post(
    client: &Client,
    config: &Config,
    bearer: Option<&str>,
    message: &Up,
) -> Result<Reply, Failure> {
    // A registration carries its own proof; the key that it proposes opens nothing yet.
    let (path, bearer) = match message {
        Up::Register(_) => ("register", None),
        Up::Report(_) => ("report", bearer),
        Up::ProposeKey(_) => ("keys", bearer),
    };
    let mut out = vec![0; 2 * UP_BYTES];
    let text = json::encode(message, &mut out).map_err(|_| Failure::TooLarge)?;
    let request = client::request(client, config, (Method::POST, path), bearer)
        .header(CONTENT_TYPE, "application/json")
        .body(Vec::from(text.as_bytes()))
        .timeout(config.timeout);
    let response = request.send().await.map_err(|error| failure::of(&error))?;
    reply(response).await
}

async fn reply(mut response: Response) -> Result<Reply, Failure> {
    match response.status() {
        StatusCode::NO_CONTENT => Ok(Reply::Taken),
        StatusCode::OK => match client::body(&mut response, json::TEXT_BYTES).await {
            Ok(text) if text.is_empty() => Ok(Reply::Taken),
            Ok(text) => Ok(postcard(&text).map_or_else(Reply::Rejected, Reply::Message)),
            Err(Failure::Misbehaved(Misconduct::Length)) => {
                Ok(Reply::Rejected(Rejection::TooLarge))
            }
            Err(failure) => Err(failure),
        },
        StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
            let failure = client::judge(&response);
            let body = client::body(&mut response, PROBLEM_BYTES).await;
            refusal(&body.unwrap_or_default()).ok_or(failure)
        }
        _ => Err(client::judge(&response)),
    }
}

fn refusal(body: &[u8]) -> Option<Reply> {
    let refused = protocol::refused(body)?;
    let mut out = [0; 32];
    let written = lightship_core::wire::encode(&Down::Refused(refused), &mut out);
    Some(Reply::Message(written.ok()?.to_vec()))
}
