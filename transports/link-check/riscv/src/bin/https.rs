//! A device that speaks HTTP.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_transports_link_check_riscv as _;

#[path = "../../../agent.rs"]
mod agent;
#[path = "../../../https.rs"]
mod https;

#[riscv_rt::entry]
fn main() -> ! {
    static mut MEMORY: MaybeUninit<https::Memory> = MaybeUninit::uninit();
    // SAFETY: the entry point runs once, and nothing else names the static.
    let memory = unsafe { &mut *core::ptr::addr_of_mut!(MEMORY) };
    https::live(memory.write(https::Memory::new()))
}
