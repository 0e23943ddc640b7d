#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

pub mod chunk;
mod contract;
mod failure;
mod fallback;
pub mod limits;
pub mod mailbox;
#[cfg(feature = "std")]
mod steady;
#[cfg(feature = "suite")]
pub mod suite;

pub use contract::{Blobs, Credentials, Event, Known, Link, NotTaken, Secret};
pub use failure::{BlobFailure, Failure, Misconduct, Unreachable};
pub use fallback::Fallback;
#[cfg(feature = "std")]
pub use steady::steady;
