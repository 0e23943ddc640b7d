//! A device that speaks MQTT.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_transports_link_check_cortex_m as _;

#[path = "../../../agent.rs"]
mod agent;
#[path = "../../../mqtt.rs"]
mod mqtt;

#[cortex_m_rt::entry]
fn main() -> ! {
    // The runtime makes this static ours alone.
    static mut MEMORY: MaybeUninit<mqtt::Memory> = MaybeUninit::uninit();
    mqtt::live(MEMORY.write(mqtt::Memory::new()))
}
