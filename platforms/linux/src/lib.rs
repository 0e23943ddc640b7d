//! The device daemon for Linux boards, with a container engine of its own.

pub mod engine;
pub mod store;
