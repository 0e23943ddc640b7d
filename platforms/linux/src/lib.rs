#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate self as lightshipd;

pub mod daemon;
pub mod docker;
pub mod engine;
pub mod store;
