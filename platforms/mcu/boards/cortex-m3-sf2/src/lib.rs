#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(feature = "firmware")]
pub mod clock;
#[cfg(feature = "firmware")]
#[path = "../../hardware.rs"]
pub mod hardware;
pub mod interrupts;
pub mod layout;
#[cfg(feature = "firmware")]
pub mod network;
pub mod power;
pub mod protection;
#[cfg(feature = "firmware")]
pub mod random;
pub mod spi_nor;
pub mod uart;
#[cfg(feature = "firmware")]
pub mod watchdog;

pub use lightship_bootloader::last_words::Cause;
