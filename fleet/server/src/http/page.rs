//! Lists in pages.

use serde::Deserialize;
use utoipa::IntoParams;

/// The most entries of a page.
const MOST: u32 = 1000;
/// As many as nobody asked for otherwise.
const USUAL: u32 = 100;

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Begin after this entry's name.
    #[serde(default)]
    after: String,
    /// At most so many; 100 if absent, 1000 at most.
    limit: Option<u32>,
}

impl Page {
    /// Where the list goes on.
    pub(crate) fn after(&self) -> &str {
        &self.after
    }

    /// How many entries.
    pub(crate) fn limit(&self) -> i64 {
        limit(self.limit)
    }
}

/// A limit within bounds.
pub(crate) fn limit(asked: Option<u32>) -> i64 {
    i64::from(asked.unwrap_or(USUAL).clamp(1, MOST))
}
