#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(feature = "firmware")]
pub mod hardware;
pub mod layout;
pub mod power;
