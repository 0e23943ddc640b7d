//! Log lines of devices.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// One line of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When the server received it.
    pub at: Timestamp,
    /// The device's uuid.
    pub device: String,
    /// The service that wrote it; `agent` for the agent itself.
    pub service: String,
    /// Where it was written.
    #[serde(default)]
    pub stream: LogStream,
    /// The line, without its end.
    pub line: String,
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    #[default]
    Out,
    /// Standard error.
    Err,
}
