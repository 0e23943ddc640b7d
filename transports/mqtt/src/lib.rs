#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

mod budget;
pub mod device;
#[cfg(feature = "std")]
pub mod host;
pub mod limits;
mod topics;

pub use budget::keep_alive_s;
