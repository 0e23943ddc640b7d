#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "device")]
pub mod device;
#[cfg(any(feature = "device", feature = "post"))]
mod dial;
#[cfg(feature = "std")]
pub mod host;
pub mod limits;
mod logs;
#[cfg(feature = "post")]
pub mod post;
#[cfg(any(feature = "std", feature = "device"))]
mod protocol;
#[cfg(any(feature = "std", feature = "device", feature = "post"))]
mod shown;

pub use logs::Kind;
