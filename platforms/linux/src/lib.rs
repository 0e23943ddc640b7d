#![doc = include_str!("../README.md")]

pub mod daemon;
pub mod docker;
pub mod engine;
pub mod store;
