#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod contract;
mod drive;
pub mod limits;
mod under_way;

pub use contract::{Clock, Happening, Platform, Task};
pub use drive::{Driver, End};
