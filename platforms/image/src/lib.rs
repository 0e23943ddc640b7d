#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(feature = "builder")]
extern crate std;

#[cfg(feature = "builder")]
pub mod builder;
pub mod check;
#[cfg(feature = "dalek")]
pub mod dalek;
#[cfg(feature = "builder")]
pub mod elf;
mod header;
mod reject;
mod version;

pub use header::{
    Entry, HEADER_LEN, Header, HeaderBytes, MAGIC, MAX_NAME, Name, SIGNED_LEN, signed_part,
};
pub use reject::Reject;
pub use version::{BadVersion, Version};
