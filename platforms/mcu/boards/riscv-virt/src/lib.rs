#![doc = include_str!("../README.md")]
#![no_std]

pub mod cfi_flash;
pub mod layout;
pub mod power;
pub mod uart;
