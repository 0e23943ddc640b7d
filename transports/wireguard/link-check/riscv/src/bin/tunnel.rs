//! A device's end of the tunnel.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use lightship_wireguard::link::Link;
use lightship_wireguard_link_check_riscv as _;

#[path = "../../../tunnel.rs"]
mod tunnel;

#[riscv_rt::entry]
fn main() -> ! {
    static mut LINK: MaybeUninit<Link> = MaybeUninit::uninit();
    // SAFETY: the entry point runs once, and nothing else names the static.
    let link = unsafe { &mut *core::ptr::addr_of_mut!(LINK) };
    core::hint::black_box(tunnel::live(link));
    loop {
        core::hint::spin_loop();
    }
}
