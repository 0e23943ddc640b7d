//! What applications and firmware print, and how the device does.

use std::sync::Arc;

use bytes::Bytes;
use lightship_link::Failure;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method};

use super::client::{self, Access};
use super::config::Config;
use super::failure;
use crate::limits::LOG_BYTES;
use crate::logs::Kind;

/// Sends logs, and what else a device says of itself, to the fleet.
#[derive(Clone, Debug)]
pub struct Logs {
    config: Arc<Config>,
    access: Arc<Access>,
    client: Client,
}

impl Logs {
    pub(super) fn new(config: Arc<Config>, access: Arc<Access>) -> Self {
        Self {
            client: client::client(&config),
            config,
            access,
        }
    }

    /// Sends some logs. They are kept by the fleet, or this fails.
    ///
    /// # Errors
    ///
    /// The [`Failure`]; [`Failure::TooLarge`] for more than [`LOG_BYTES`] at once.
    pub async fn append(&mut self, kind: Kind, logs: Bytes) -> Result<(), Failure> {
        if logs.len() > LOG_BYTES {
            return Err(Failure::TooLarge);
        }
        self.post("logs", kind.content_type(), logs).await
    }

    /// Says what this device is made of and how it does, in JSON; what is absent stays as it was.
    ///
    /// # Errors
    ///
    /// The [`Failure`].
    pub async fn metrics(&mut self, json: Bytes) -> Result<(), Failure> {
        self.post("metrics", "application/json", json).await
    }

    async fn post(&mut self, path: &str, content: &str, body: Bytes) -> Result<(), Failure> {
        let bearer = self.access.bearer();
        let request = (Method::POST, path);
        let request = client::request(&self.client, &self.config, request, bearer.as_deref())
            .header(CONTENT_TYPE, content)
            .timeout(self.config.timeout)
            .body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(client::judge(&response)),
            Err(error) => {
                self.client = client::client(&self.config);
                Err(failure::of(&error))
            }
        }
    }
}
