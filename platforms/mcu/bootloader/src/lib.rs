#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(target_os = "none")]
pub mod jump;
pub mod ram;

pub use lightship_image::salty::Salty;
