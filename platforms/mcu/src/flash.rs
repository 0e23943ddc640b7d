//! Adapters that cut one flash into partitions and make one flash of several.
//!
//! Everything else in this crate takes a partition and counts its offsets from zero.

mod joined;
mod shared;
mod window;

pub use joined::{Joined, JoinedError};
pub use shared::Shared;
pub use window::{Window, WindowError};
