//! What keeps a build within bounds: cancellation, a time limit, and limits of size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::BuildError;

/// Limits of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links in the context.
    pub context_entries: usize,
    /// Bytes of all files in the context.
    pub context_bytes: u64,
    /// Bytes that one layer may unpack to.
    pub layer_bytes: u64,
    /// Layers of an image, those of its base included: what overlay file systems can stack.
    pub layers: usize,
    /// How long the build may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            context_entries: 200_000,
            context_bytes: 4 << 30,
            layer_bytes: 8 << 30,
            layers: 127,
            time: Duration::from_secs(3600),
        }
    }
}

/// Ends a build from outside. Clones end the same build.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// The build ends soon, with [`BuildError::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bounds of a build that runs.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) limits: Limits,
    cancel: Cancel,
    end: Option<Instant>,
}

impl Guard {
    pub(crate) fn new(limits: Limits, cancel: &Cancel) -> Self {
        let now = Instant::now();
        Self {
            limits,
            cancel: cancel.clone(),
            end: now.checked_add(limits.time),
        }
    }

    /// Asked between all steps that take long.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let now = Instant::now();
        if self.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        if self.end.is_some_and(|end| now > end) {
            return Err(BuildError::TooLong(self.limits.time));
        }
        Ok(())
    }
}
