//! A device that speaks HTTP.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_transports_link_check_cortex_m as _;

#[path = "../../../agent.rs"]
mod agent;
#[path = "../../../https.rs"]
mod https;

#[cortex_m_rt::entry]
fn main() -> ! {
    // The runtime makes this static ours alone.
    static mut MEMORY: MaybeUninit<https::Memory> = MaybeUninit::uninit();
    https::live(MEMORY.write(https::Memory::new()))
}
