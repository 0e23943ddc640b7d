//! One pool of connections, and what is shown on them.

use std::string::String;
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use lightship_link::{Credentials, Failure, Misconduct};
use reqwest::header::{AUTHORIZATION, DATE, HeaderName, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};

use super::config::Config;
use super::failure;
use crate::protocol;

/// What the runner was last told to show; blobs and logs show the same.
#[derive(Default)]
pub(super) struct Access(Mutex<Option<String>>);

impl core::fmt::Debug for Access {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Access(secret)")
    }
}

impl Access {
    pub(super) fn show(&self, credentials: &Credentials) {
        let bearer = protocol::bearer(credentials).map(|text| text.as_str().into());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bearer;
    }

    pub(super) fn bearer(&self) -> Option<String> {
        let bearer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bearer.clone()
    }
}

/// A fresh pool: a connection that went silent must not be used again.
pub(super) fn client(config: &Config) -> Client {
    let mut client = Client::builder();
    if let Some(socket) = &config.socket {
        client = client.unix_socket(socket.as_path());
    }
    client
        .redirect(Policy::none())
        .connect_timeout(config.timeout)
        .pool_max_idle_per_host(2)
        .tls_backend_preconfigured((*config.tls).clone())
        .build()
        .expect("only a TLS backend that is missing fails, and it was given")
}

/// A request that shows `bearer`.
pub(super) fn request(
    client: &Client,
    config: &Config,
    (method, path): (Method, &str),
    bearer: Option<&str>,
) -> RequestBuilder {
    let request = client.request(method, config.url(path));
    match bearer {
        Some(bearer) => request.header(AUTHORIZATION, bearer),
        None => request,
    }
}

/// A header's text, if it is text.
pub(super) fn header(response: &Response, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// What an answer from 300 on means.
pub(super) fn judge(response: &Response) -> Failure {
    let wait = protocol::retry_after(header(response, RETRY_AFTER), header(response, DATE));
    protocol::failure(response.status().as_u16(), wait)
}

/// The whole body, or that it is longer than `limit`.
pub(super) async fn body(response: &mut Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failure::of(&error))?
    {
        if bytes.len() + chunk.len() > limit {
            return Err(Failure::Misbehaved(Misconduct::Length));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
