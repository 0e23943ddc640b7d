//! The server's clock; nothing else reads one.

use std::time::{SystemTime, UNIX_EPOCH};

use lightship_api::Timestamp;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The present, as the API writes it.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(now_ms())
}
