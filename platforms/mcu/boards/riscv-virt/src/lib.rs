#![doc = include_str!("../README.md")]
#![no_std]

pub mod cfi_flash;
pub mod clock;
pub mod faults;
pub mod interrupts;
pub mod layout;
pub mod network;
pub mod power;
pub mod random;
pub mod uart;
pub mod virtio;
pub mod watchdog;

pub use lightship_bootloader::last_words::Cause;
