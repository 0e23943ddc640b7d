//! The plan, proved: over every small state exhaustively, and over large random ones (design, section 9.2).
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod large;
mod model;
mod small;
