//! The one async loop that runs an agent on any executor.
