//! A device that speaks MQTT.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_transports_link_check_riscv as _;

#[path = "../../../agent.rs"]
mod agent;
#[path = "../../../mqtt.rs"]
mod mqtt;

#[riscv_rt::entry]
fn main() -> ! {
    static mut MEMORY: MaybeUninit<mqtt::Memory> = MaybeUninit::uninit();
    // SAFETY: the entry point runs once, and nothing else names the static.
    let memory = unsafe { &mut *core::ptr::addr_of_mut!(MEMORY) };
    mqtt::live(memory.write(mqtt::Memory::new()))
}
