//! What applications and firmware print.

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

/// Sends logs to the fleet.
#[derive(Debug)]
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
        let bearer = self.access.bearer();
        let request = (Method::POST, "logs");
        let request = client::request(&self.client, &self.config, request, bearer.as_deref())
            .header(CONTENT_TYPE, kind.content_type())
            .timeout(self.config.timeout)
            .body(logs);
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
