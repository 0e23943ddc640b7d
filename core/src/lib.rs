//! The agent that decides.
#![no_std]
#![forbid(unsafe_code)]

pub mod id;
pub mod limits;
pub mod target;
pub mod time;
pub mod trust;
pub mod wire;
