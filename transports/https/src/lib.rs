#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "device")]
pub mod device;
#[cfg(feature = "std")]
pub mod host;
pub mod limits;
mod logs;
#[cfg(any(feature = "std", feature = "device"))]
mod protocol;

pub use logs::Kind;
