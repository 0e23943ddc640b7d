#![doc = include_str!("../README.md")]
#![no_std]

pub mod layout;
pub mod spi_nor;
pub mod uart;

/// The device-specific interrupts: none is used, and the linker wants at least one.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
#[used]
pub static __INTERRUPTS: [usize; 1] = [0];
