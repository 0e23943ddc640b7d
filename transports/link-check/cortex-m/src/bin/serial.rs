//! A device that speaks over a line.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_transports_link_check_cortex_m as _;

#[path = "../../../agent.rs"]
mod agent;
#[path = "../../../serial.rs"]
mod serial;

#[cortex_m_rt::entry]
fn main() -> ! {
    // The runtime makes this static ours alone.
    static mut MEMORY: MaybeUninit<serial::Memory> = MaybeUninit::uninit();
    serial::live(MEMORY.write(serial::Memory::new()))
}
