#![doc = include_str!("../README.md")]
#![no_std]

pub mod cfi_flash;
#[cfg(feature = "firmware")]
pub mod clock;
#[cfg(feature = "firmware")]
pub mod faults;
#[cfg(feature = "firmware")]
#[path = "../../hardware.rs"]
pub mod hardware;
#[cfg(feature = "firmware")]
pub mod interrupts;
pub mod layout;
#[cfg(feature = "firmware")]
pub mod network;
pub mod power;
pub mod prologues;
#[cfg(feature = "firmware")]
pub mod random;
pub mod uart;
#[cfg(feature = "firmware")]
pub mod virtio;
#[cfg(feature = "firmware")]
pub mod watchdog;

pub use lightship_bootloader::last_words::Cause;
