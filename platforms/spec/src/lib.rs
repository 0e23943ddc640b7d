#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod container;
pub mod digest;
pub mod settings;
