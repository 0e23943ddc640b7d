#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod compose;
pub mod container;
pub mod digest;
pub mod problem;
pub mod settings;
pub mod yaml;
