#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

mod budget;
#[cfg(feature = "std")]
pub mod host;
pub mod limits;
#[cfg(feature = "std")]
mod topics;

pub use budget::keep_alive_s;
