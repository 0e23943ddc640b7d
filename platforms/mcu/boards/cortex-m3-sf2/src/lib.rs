#![doc = include_str!("../README.md")]
#![no_std]

pub mod clock;
pub mod interrupts;
pub mod layout;
pub mod network;
pub mod power;
pub mod protection;
pub mod random;
pub mod spi_nor;
pub mod uart;
pub mod watchdog;

pub use lightship_bootloader::last_words::Cause;
