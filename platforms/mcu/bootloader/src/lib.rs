#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(target_os = "none")]
pub mod jump;
pub mod ram;
pub mod stack;

pub use lightship_mcu::{CoreCurve, last_words};
