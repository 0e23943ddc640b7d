#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "std", test))]
extern crate std;

pub mod device;
pub mod frame;
pub mod limits;
mod line;
mod session;
pub mod shore;
#[cfg(feature = "std")]
pub mod tty;

pub use line::Patience;
pub use session::Sorry;
