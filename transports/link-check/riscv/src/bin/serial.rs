//! A device that speaks over a line.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_transports_link_check_riscv as _;

#[path = "../../../agent.rs"]
mod agent;
#[path = "../../../serial.rs"]
mod serial;

#[riscv_rt::entry]
fn main() -> ! {
    static mut MEMORY: MaybeUninit<serial::Memory> = MaybeUninit::uninit();
    // SAFETY: the entry point runs once, and nothing else names the static.
    let memory = unsafe { &mut *core::ptr::addr_of_mut!(MEMORY) };
    serial::live(memory.write(serial::Memory::new()))
}
