//! A device's end of the tunnel.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_wireguard::link::Link;
use lightship_wireguard_link_check_cortex_m as _;

#[path = "../../../tunnel.rs"]
mod tunnel;

#[cortex_m_rt::entry]
fn main() -> ! {
    // The runtime makes this static ours alone.
    static mut LINK: MaybeUninit<Link> = MaybeUninit::uninit();
    core::hint::black_box(tunnel::live(LINK));
    loop {
        core::hint::spin_loop();
    }
}
