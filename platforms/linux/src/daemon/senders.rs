//! Sends what is no message: logs and metrics, in the tunnel, and directly when there is no way through it.

use lightship_https::Kind;
use lightship_https::host::Logs;
use lightship_link::Failure;

/// The two ways.
pub(super) struct Senders {
    pub(super) inside: Logs,
    pub(super) direct: Logs,
}

impl Senders {
    /// Sends lines of JSON.
    ///
    /// # Errors
    ///
    /// Why they are not known to be kept.
    pub(super) async fn lines(&mut self, lines: Vec<u8>) -> Result<(), Failure> {
        let lines = bytes::Bytes::from(lines);
        match self.inside.append(Kind::Lines, lines.clone()).await {
            Err(Failure::Unreachable(_)) => self.direct.append(Kind::Lines, lines).await,
            answer => answer,
        }
    }

    /// Sends metrics.
    ///
    /// # Errors
    ///
    /// Why they are not known to be kept.
    pub(super) async fn metrics(&mut self, json: Vec<u8>) -> Result<(), Failure> {
        let json = bytes::Bytes::from(json);
        match self.inside.metrics(json.clone()).await {
            Err(Failure::Unreachable(_)) => self.direct.metrics(json).await,
            answer => answer,
        }
    }
}
